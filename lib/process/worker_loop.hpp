#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tick.hpp"
#include "memory/budget.hpp"
#include "memory/region.hpp"
#include "memory/result_arena.hpp"
#include "prefork/detail/callable.hpp"
#include "process/control.hpp"
#include "process/stop_watch.hpp"
#include "ring/ring.hpp"

// What a worker does between two tasks, and around one: claim → journal → call → commit.

namespace prefork::process {

struct worker_loop_options {
    unsigned seat = 0;
    /// How long to look for the next task before going to sleep.
    base::nanoseconds spin{0};
    /// Then exit, to be replaced. 0: never.
    std::uint64_t max_tasks = 0;
    /// A longest inline exception is this; larger ones need a block.
    std::size_t exception_bytes = 64 * 1024;
    /// Of the pool: what this_task::seed() is made of.
    std::uint64_t seed = 0;
    /// The host's event descriptor, open in this process too: told of watched tasks.
    int event_fd = -1;
    /// What wakes the monitor, open in this process too.
    int wake_fd = -1;
    /// How long a result waits for room in the budget.
    base::nanoseconds room_wait{0};
    /// The host may end a worker for what its task holds, before the task has ended.
    bool has_memory_limit = false;
    std::string name;  ///< as ps shows it while no labelled task runs
};

/// A spare worker: waits until the host gives it a place; its index. Nothing when the pool ends.
[[nodiscard]] std::optional<unsigned> await_turn(control words, unsigned seat);

/// One in each worker process; single-threaded.
class worker_loop {
  public:
    worker_loop(memory::region& shared, control words, ring::ring& tasks, memory::budget& allowed,
                const worker_loop_options& options);

    /// Until the pool closes, the host wants this worker to leave, or max_tasks have run.
    void run();
    /// Runs the broadcasts that this worker hasn't run yet; false when one of them failed.
    bool run_broadcasts();

    /// The journal and arena of the worker that this process is; nullptr in the host.
    [[nodiscard]] static worker_loop* current() noexcept;
    [[nodiscard]] const memory::region& region() const noexcept { return *region_; }
    /// A block for the running task's result; waits for room in the budget. nullptr: none came.
    [[nodiscard]] std::byte* allocate_result(std::uint64_t size);
    /// The task's result refers to `block`, of this worker's part, which the host releases; or,
    /// with nullptr, to one that was sent before.
    void note_sent(std::byte* block);

    [[nodiscard]] std::stop_token stop_token();
    [[nodiscard]] bool stop_requested() const noexcept {
        return process::stop_requested(*journal_);
    }
    void extend(base::nanoseconds by) noexcept;
    /// Of the running task; empty if it has none.
    [[nodiscard]] std::string_view label() const noexcept { return label_; }

  private:
    class slot_sink;

    void run_task(const ring::claimed_task& task);
    void call_task(const ring::claimed_task& task, ring::slot& slot,
                   std::span<const std::byte> payload, slot_sink& sink);
    void expire(const ring::claimed_task& task, slot_sink& sink);
    void leave_task(const ring::claimed_task& task) noexcept;
    bool commit(const ring::claimed_task& task) noexcept;
    void set_label(std::string_view label) noexcept;
    void describe_exception(slot_sink& sink);
    void finish(const ring::claimed_task& task, slot_sink& sink, std::uint64_t started,
                std::uint64_t submitted, bool failed);
    void make_room(std::uint64_t claimed) noexcept;
    [[nodiscard]] bool must_leave() const noexcept;
    [[nodiscard]] bool is_called_away() const noexcept;
    void attend();
    [[nodiscard]] std::optional<ring::claimed_task> next_task();
    [[nodiscard]] std::optional<ring::claimed_task> sleep();
    void trim_if_asked();
    void note_trimmed(std::uint32_t asked) noexcept;
    [[nodiscard]] bool in_arguments(std::uint64_t offset) const noexcept;
    void ask_for_room() noexcept;

    memory::region* region_;
    control control_;
    ring::ring* ring_;
    worker_loop_options options_;
    memory::budget* allowed_;
    memory::result_arena results_;
    ring::claimer claimer_;
    journal* journal_;
    stop_watch stops_;
    std::string_view label_;
    bool has_token_ = false;
    bool has_extended_ = false;
    base::tick_scale scale_;
    std::uint64_t spin_ticks_ = 0;
    std::uint64_t ran_ = 0;
    bool refers_ = false;
    bool trimmed_ = true;  ///< nothing has run since the last trim
    std::uint32_t trims_seen_ = 0;
    std::uint32_t broadcasts_seen_ = 0;
    const broadcast_call* last_broadcast_ = nullptr;
    bool waited_in_vain_ = false;  ///< for room, the last time
    std::vector<std::byte*> sent_;
};

}  // namespace prefork::process

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "prefork/error.hpp"
#include "process/pending_trace.hpp"
#include "ring/slot_word.hpp"

// Which workers are, and which are due. A worker has an *index*, its number among the workers,
// which its replacement inherits, and a *seat*, its place in shared memory, which is free again
// only when the kernel has proved it dead and the last of its results is released. Hence more seats
// than workers.
//
// A *spare* is one process more than there are workers, forked ahead, which waits before its hooks
// run: it takes the place of the next worker that dies without a fork in between. Its index is the
// number of workers.

namespace prefork::process {

enum class phase : std::uint8_t {
    free,      ///< nobody's
    starting,  ///< asked of the fork server; its hooks may still run
    running,   ///< has said that it started
    pinned,    ///< dead; results of its part are still held
};

class fork_server;

struct worker_entry {
    unsigned seat = 0;
    unsigned index = 0;
    const fork_server* server = nullptr;  ///< whose child it is
    bool superseded = false;              ///< another one has its place: it leaves for good
    bool orphaned = false;                ///< its fork server is gone, and it is about to follow
    process::phase phase = phase::free;
    pid_t pid = 0;
    base::unique_fd pidfd;
    base::time_point since{};                ///< when it was asked for
    killer killed_by = killer::none;         ///< why we killed it, if we did
    std::uint64_t grown_by = 0;              ///< private bytes, when that was too many
    std::uint64_t memory = 0;                ///< private bytes when they were looked at last
    base::time_point kill_at = base::never;  ///< the grace's end, with `condemned_for`
    killer condemned_by = killer::none;
    /// Of the run that it is condemned for, while its answer is waited for; the grace begins then.
    std::shared_ptr<pending_trace> trace;
    base::time_point trace_until{};
    /// Its pidfd says that it is dead: the fork server's word, which has its status, is waited for
    /// until then.
    base::time_point unheard_until = base::never;
    ring::slot_word condemned_for;  ///< the run that it must have left by then
    /// When it is killed though it says neither that it has left that run nor that it is in it:
    /// somebody writes over its journal.
    base::time_point overdue_at{};
    ring::slot_word unbegun;  ///< claimed and not begun when the host looked last
    base::time_point unbegun_since{};
    ring::slot_word seen_run;  ///< in its journal when the host looked last, and since when
    base::time_point seen_since{};
    /// Copies of what is in its journal, for others could write over that.
    std::uint64_t began_with = 0;  ///< private bytes before its hooks ran
    std::uint64_t asked_to_stop = 0;
    bool asked_to_leave = false;
    /// Between two looks for damage (pool/damage.cpp): tasks that it had ended, whether it was in
    /// one, and whether it may have done what was found.
    std::uint64_t tasks_seen = 0;
    bool seen_running = false;
    bool suspected = false;
    bool wild = false;  ///< ended for it
};

/// How a worker ended.
struct death {
    int code = 0;    ///< CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0 when nobody can tell any more
    int status = 0;  ///< exit status or signal
    std::uint64_t peak_memory = 0;  ///< resident at most; 0 when nobody can tell
};

/// Pure bookkeeping, no system calls; guarded by its owner's lock.
class roster {
  public:
    /// Restarts wait after a worker ended within this time of its start …
    static constexpr std::chrono::milliseconds young{1000};
    /// … 10 ms at first, doubled each time, at most this.
    static constexpr std::chrono::milliseconds longest_delay{5000};

    roster() = default;
    roster(unsigned workers, unsigned seats);

    [[nodiscard]] worker_entry& at(unsigned seat) { return entries_[seat]; }
    [[nodiscard]] std::vector<worker_entry>& all() noexcept { return entries_; }
    [[nodiscard]] unsigned workers() const noexcept {
        return next_start_.empty() ? 0 : static_cast<unsigned>(next_start_.size()) - 1;
    }
    [[nodiscard]] bool is_spare(const worker_entry& entry) const noexcept {
        return entry.index == workers();
    }
    [[nodiscard]] bool is_alive(unsigned seat) const noexcept {
        return seat < entries_.size() &&
               (entries_[seat].phase == phase::starting || entries_[seat].phase == phase::running);
    }
    [[nodiscard]] unsigned running() const noexcept;

    /// A free seat for the worker `index`, now starting; nothing when all are pinned.
    [[nodiscard]] std::optional<unsigned> begin_start(unsigned index, base::time_point now);
    /// From now on there is a spare; the first is due at once.
    void keep_spare() { next_start_.back().wanted = true; }
    /// The spare's seat, now starting as the worker `index`; nothing while there is none.
    [[nodiscard]] std::optional<unsigned> promote(unsigned index, base::time_point now);
    /// It said that it started.
    void started(unsigned seat);
    /// It is dead; its index is due again: at once if it was `useful`, that is, had ended a task or
    /// left by itself to be recycled; else after a delay that grows with each such death in a row.
    void ended(unsigned seat, base::time_point now, bool useful);
    /// Another worker, of a newer fork server, has its place.
    void supersede(unsigned seat) { entries_[seat].superseded = true; }
    /// `index` needs no start: somebody has its place. Or, `wanted`, nobody has.
    void want(unsigned index, bool wanted, base::time_point now) {
        next_start_[index] = {.due = now, .wanted = wanted};
    }
    /// Nobody holds anything of its part any more.
    void vacate(unsigned seat);

    /// Indexes whose start is due, and when the next one is.
    [[nodiscard]] std::vector<unsigned> due(base::time_point now) const;
    [[nodiscard]] base::time_point next_due() const;
    /// When the first of the starts failed that have failed since the last success; never if none
    /// has.
    [[nodiscard]] base::time_point failing_since() const noexcept { return failing_since_; }
    /// No start has failed since the last success, and no worker's place is one where two died
    /// young in a row and none has lived longer since. A replacement that starts is no reason to
    /// worry.
    [[nodiscard]] bool replaces_in_time(base::time_point now) const;

  private:
    struct start_state {
        base::time_point due{};
        bool wanted = true;
        unsigned young_deaths = 0;
    };

    std::vector<worker_entry> entries_;
    std::vector<start_state> next_start_;  // by index, the spare's last
    base::time_point failing_since_ = base::never;
};

}  // namespace prefork::process

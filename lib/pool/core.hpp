#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/tick.hpp"
#include "gate/gate.hpp"
#include "log/log_pump.hpp"
#include "memory/argument_arena.hpp"
#include "memory/budget.hpp"
#include "memory/region.hpp"
#include "pool/damage.hpp"
#include "pool/function_check.hpp"
#include "pool/kept_results.hpp"
#include "pool/task_record.hpp"
#include "prefork/detail/pool_core.hpp"
#include "prefork/error.hpp"
#include "prefork/pool.hpp"
#include "process/control.hpp"
#include "process/crash_report.hpp"
#include "process/fork_server.hpp"
#include "process/identity.hpp"
#include "process/oom_kills.hpp"
#include "process/roster.hpp"
#include "process/task_context.hpp"
#include "ring/ring.hpp"
#include "stats/report.hpp"

// What the files of this folder share: the host's books. All of it is private memory of the host,
// and all of it is guarded by `mutex`, but for what says otherwise.

namespace prefork::detail {

struct adopted;       // shared_block.hpp
class task_evidence;  // evidence.hpp

/// Host-side counts for stats().
struct tallies {
    std::uint64_t submitted = 0;
    std::uint64_t failed = 0;  ///< by the host's decision
    std::uint64_t inlined = 0;
    std::uint64_t retried = 0;
    std::uint64_t lost_workers = 0;
    std::uint64_t timeouts = 0;
    std::uint64_t expired = 0;
};

/// Of one label; of `times` only count and run times are used.
struct label_tally {
    std::uint64_t completed = 0;
    std::uint64_t failed = 0;
    stats::sums times;
};

/// No wait of the host is longer than this without a look at the truth: a worker that writes over a
/// word that we sleep on can cost that much, and no more.
inline constexpr std::chrono::milliseconds longest_sleep{100};

/// A result for which there is no room in the budget waits for so long; 100 ms, if the
/// pool's user chose not to wait.
inline constexpr std::chrono::seconds longest_wait_for_room{5};

/// Starts fail for so long, with no worker left, before tasks are given up: a hook that opens a
/// connection survives the restart of what it connects to.
inline constexpr std::chrono::seconds patience{5};

/// After a burst of arguments: what free blocks hold beyond this goes back when the pool was idle
/// this long.
inline constexpr std::uint64_t most_kept_idle = std::uint64_t{16} << 20;
inline constexpr std::chrono::milliseconds idle_before_trim{1000};

/// " 'GET /users'", to come after "task 7"; nothing for a task without a label.
[[nodiscard]] inline std::string labelled(const std::shared_ptr<const std::string>& label) {
    std::string text;
    if (label != nullptr) text.append(" '").append(*label).append("'");
    return text;
}
[[nodiscard]] std::exception_ptr expired(const std::shared_ptr<const std::string>& label);

class pool_core {
  public:
    pool_core(const pool_options& options, const exit_data& tools);
    /// Forks, and blocks until every worker has started. Once.
    void start();
    ~pool_core();
    pool_core(const pool_core&) = delete;
    pool_core& operator=(const pool_core&) = delete;

    // ---- replay.cpp
    /// Of the task in that file, see replay(). Once, in place of start().
    [[noreturn]] void replay(const char* path);

    // ---- submit.cpp, inline_run.cpp
    ticket submit(const call& what, const call_options& how);
    [[nodiscard]] std::optional<ticket> try_submit(const call& what, call_options how) noexcept;
    void help(ticket task);

    // ---- gather.cpp
    [[nodiscard]] bool ready(ticket task) {
        require_host_for(task);
        if (is_ready(task)) return true;
        begin_looks();
        return false;
    }
    [[nodiscard]] bool wait(ticket task, base::time_point deadline);
    [[nodiscard]] bool wait(ticket task, base::time_point deadline, const std::stop_token& stop);
    [[nodiscard]] outcome take(ticket task);
    void abandon(ticket task) noexcept;
    void pin(unsigned seat) noexcept;
    void unpin(unsigned seat) noexcept;
    /// `payload` may be nullptr: then only the seat is let go.
    void release_result(std::byte* payload, unsigned seat) noexcept;
    [[nodiscard]] bool owns_result(unsigned seat, const std::byte* data, std::uint64_t bytes);
    [[nodiscard]] unsigned seat_of(const std::byte* data) const noexcept;
    /// For shared arrays; empty in a pool without processes.
    [[nodiscard]] memory::block allocate_array(std::size_t bytes);
    /// What an inline run may take. The budget that was asked for: one that a pool with workers
    /// chooses by itself is half of what the machine has, and new[] says when that is too much.
    [[nodiscard]] std::uint64_t inline_budget() const noexcept {
        return budget_ ? budget_->limit() : options_.memory_budget;
    }
    [[nodiscard]] bool fits_budget(std::size_t bytes) const noexcept {
        return inline_budget() == 0 || bytes <= inline_budget();
    }
    /// Takes no lock of the pool, so that the last reference may be dropped anywhere.
    void release_argument(const memory::block& block) noexcept;

    // ---- notify.cpp
    void watch(ticket task, std::function<void()> callback);
    bool poll();
    [[nodiscard]] int event_fd() const noexcept { return event_fd_.get(); }
    [[nodiscard]] static std::optional<std::size_t> wait_any(std::span<const pool_task> tasks,
                                                             base::time_point deadline);

    // ---- refresh.cpp, broadcast.cpp
    void refresh();
    void pause(bool on);
    void broadcast(const call& what);

    // ---- settle.cpp
    bool cancel(ticket task);
    std::size_t cancel_waiting();
    std::size_t kill_running();

    // ---- shutdown.cpp
    void drain();
    bool shutdown(std::chrono::nanoseconds bound);
    /// The pool object is gone; futures and results may still need the core, the last of which
    /// ends it.
    static void close(pool_core* core) noexcept;

    // ---- report.cpp
    [[nodiscard]] pool_stats stats();
    [[nodiscard]] std::string describe();
    [[nodiscard]] bool healthy();

    [[nodiscard]] const pool_options& options() const noexcept { return options_; }
    [[nodiscard]] bool gate_open(const double* max_load_average);

  private:
    using lock = std::unique_lock<std::mutex>;

    // ---- pool.cpp
    void report_other_threads();
    void make_memory();
    void start_workers();
    [[nodiscard]] int run_worker(process::worker_start start);

    // ---- shutdown.cpp
    static constexpr std::chrono::milliseconds peaceful_exit{1000};
    bool end_by(base::time_point deadline, std::chrono::nanoseconds exit_time);
    void end_all_tasks();
    void end_monitor() noexcept;
    void wait_for_exits(base::time_point deadline);
    void end(lock& held) noexcept;

    /// A call that uses the ring or the workers without the mutex, and has no future that keeps the
    /// core: close() waits for it. Made with the mutex held.
    class inside {
      public:
        explicit inside(pool_core& of) noexcept : of_(of) { ++of.inside_; }
        ~inside() {
            if (of_.inside_.fetch_sub(1) == 1) of_.inside_.notify_all();
        }
        inside(const inside&) = delete;
        inside& operator=(const inside&) = delete;

      private:
        pool_core& of_;
    };

    // ---- pool.cpp
    [[nodiscard]] unsigned inner_threads() const noexcept;
    void become_worker();

    // ---- submit.cpp
    void check_open() const {
        if (closing_ || !broken_.empty()) throw_not_open();
    }
    [[noreturn]] void throw_not_open() const;
    void check_function(const call& what);
    static void check_label(const std::string& label);
    [[nodiscard]] std::optional<std::uint64_t> find_room(lock& held, const call& what,
                                                         const call_options& how,
                                                         memory::block& arguments);
    [[nodiscard]] memory::block allocate_arguments(lock& held, std::size_t bytes,
                                                   overflow when_full);
    void bury();
    void ask_workers_to_trim(lock& held);
    [[nodiscard]] std::optional<std::uint64_t> acquire_position(lock& held, overflow when_full);
    [[nodiscard]] bool queue_is_full() noexcept;
    [[nodiscard]] std::optional<std::uint64_t> free_position();
    void wait_for_room(lock& held);
    void wake_room_waiters() noexcept;
    [[nodiscard]] overflow overflow_of(const call_options& how) const noexcept;
    [[nodiscard]] bool copy_adopted(lock& held, const call_options& how,
                                    std::vector<adopted>& adoptions);
    [[nodiscard]] bool publish(std::uint64_t position, const call& what, const call_options& how,
                               const memory::block& arguments, std::vector<adopted>& adoptions);
    void fill_slot(const task_record& record, ring::slot& slot);
    [[nodiscard]] bool note_timeout(std::chrono::nanoseconds timeout);

    // ---- inline_run.cpp
    [[nodiscard]] ticket run_inline(const call& what, const call_options& how);
    /// An outcome that never was in the ring, of a task that ran for so many ticks.
    [[nodiscard]] ticket keep_outcome(outcome&& result, std::uint64_t ran, std::size_t too_large);
    [[nodiscard]] std::uint64_t take_numbers(std::uint64_t count) noexcept {
        return std::exchange(next_number_, next_number_ + count);
    }
    void require_budget_for(std::size_t argument_bytes) const;
    template <class Write>
    void call_here(invoker function, std::size_t size, Write write, process::task_context& context,
                   outcome& result, std::size_t& too_large);
    void call_here(invoker function, std::span<const std::byte> payload,
                   process::task_context& context, outcome& result, std::size_t& too_large);
    [[nodiscard]] std::exception_ptr no_room_for(std::uint64_t task, std::size_t bytes) const;

    // ---- gather.cpp
    [[nodiscard]] task_record& record_at(std::uint64_t position) noexcept {
        return records_[position & slot_mask_];
    }
    [[nodiscard]] bool is_ready(ticket task);
    [[nodiscard]] bool is_inherited_by_worker() const noexcept;
    void require_host() const;
    void require_host_for(ticket task) const;
    [[nodiscard]] task_record* find(ticket task) noexcept;
    void note_label(const std::string& label, bool failed, std::optional<std::uint64_t> ran);
    /// Into a new outcome.
    void collect(task_record& record, ring::slot_word word, outcome& into);
    [[nodiscard]] std::exception_ptr not_a_result(const task_record& record, const char* why,
                                                  std::uint64_t seen);
    void read_result(const task_record& record, ring::slot_word word, outcome& into);
    [[nodiscard]] std::exception_ptr read_block(const task_record& record, ring::slot_word word,
                                                std::uint64_t size, outcome& into);
    void harvest(task_record& record, ring::slot_word word);
    void hold_seat(unsigned seat, outcome& by) noexcept;
    void drop_block() noexcept;
    bool harvest_all();
    void free_record(task_record& record, ring::slot_word word);
    void sweep_abandoned();
    void vacate(process::worker_entry& worker);
    [[nodiscard]] bool may_be_written(ring::slot_word word);
    void end_quarantine();
    void wait_for_oldest(lock& held);
    [[nodiscard]] bool spin_for(ticket task);
    void recall(ticket task);
    [[nodiscard]] bool sleep_for(ticket task, base::time_point deadline,
                                 const std::stop_token* stop);
    void stop_waiting(ticket task) noexcept;
    void reference_dropped(lock& held) noexcept;
    void plan_trim() noexcept;

    // ---- result_room.cpp
    void make_room_for_results();

    // ---- notify.cpp
    [[nodiscard]] bool request_notice(ticket task);
    void signal_event() noexcept;
    [[nodiscard]] bool all_ended();
    void run_last_callbacks() noexcept;

    // ---- refresh.cpp, broadcast.cpp
    [[nodiscard]] std::string start_second_set(lock& held);
    void dismiss(const process::fork_server* server);
    void want_missing_workers();
    void wait_for_last_claims(lock& held, const process::fork_server* server);
    void look_at_retired();
    void wake_all_workers() noexcept;
    void append_broadcast(lock& held, const call& what);
    [[nodiscard]] std::exception_ptr wait_for_broadcast(lock& held, unsigned seat, pid_t pid,
                                                        std::uint32_t number);
    [[nodiscard]] static std::exception_ptr broadcast_error(
        const process::worker_progress& progress);

    // ---- settle.cpp, all with the mutex held
    /// For errors: nothing for a pool without a name of its own.
    [[nodiscard]] std::string of_pool() const;
    void settle_death(process::worker_entry& worker, const process::death& how);
    [[nodiscard]] bool run_elsewhere(task_record& record, ring::slot_word word,
                                     const process::worker_entry& worker);
    void harvest_of_dead(task_record& record, ring::slot_word word) noexcept;
    void lose(task_record& record, const process::worker_entry& worker,
              const process::death& how) noexcept;
    [[nodiscard]] std::exception_ptr describe_loss(task_record& record,
                                                   const process::worker_entry& worker,
                                                   const process::death& how);
    [[nodiscard]] std::exception_ptr late_in_queue(const task_record& record) const;
    void count_late_in_queue(const task_record& record) noexcept;
    [[nodiscard]] loss about(const task_record& record, const process::worker_entry& worker,
                             std::uint64_t ended);
    [[nodiscard]] killer who_killed(const process::worker_entry& worker, const process::death& how);
    bool end_task(task_record& record, ring::slot_word& word, ring::state as,
                  const std::exception_ptr& failure);
    bool give_up(task_record& record, ring::state as, const std::exception_ptr& failure, killer by);
    void condemn(process::worker_entry& worker, ring::slot_word task, killer by);
    void finish_condemned(process::worker_entry& worker);
    void fail_everything(const std::string& why);
    [[nodiscard]] std::uint64_t oldest_unclaimed();

    // ---- evidence.cpp, with the mutex held
    [[nodiscard]] std::shared_ptr<task_evidence> gather_evidence(task_record& record, loss known);

    // ---- damage.cpp, all but the first with the mutex held
    void begin_looks() noexcept;
    void look_for_damage(base::time_point now);
    void mend_shared();
    void report_damage(lock& held);
    [[nodiscard]] static std::exception_ptr overwritten(const task_record& record);
    void note_damage(const std::string& what, std::uint64_t value) noexcept;
    template <class T>
    void mend(std::atomic<T>& word, T right, const char* name) noexcept;
    void mend_switches();
    void mend_hints();
    void look_at_journal(process::worker_entry& worker);
    [[nodiscard]] const char* what_is_wrong(const task_record& record, ring::slot_word word);
    void end_damaged(task_record& record, ring::slot_word word, const char* why);
    void look_at_claim(const task_record& record, ring::slot_word word, base::time_point now);
    [[nodiscard]] bool look_at_words(base::time_point now);
    void look_at_free_slots();
    [[nodiscard]] bool is_idle(const process::worker_entry& worker) const noexcept;
    void look_at_waiting(std::uint64_t oldest);
    void judge_suspects();

    // ---- monitor.cpp
    /// What ended a sleep of the monitor, or of the thread that constructs the pool.
    enum class woken { by_time, by_news, by_end_of_server };

    void run_monitor() noexcept;
    void look_at_everything(lock& held);
    void wake_monitor() noexcept;
    /// Without the lock.
    [[nodiscard]] woken sleep_until(lock& held, base::time_point deadline) noexcept;
    [[nodiscard]] bool logs(const process::worker_entry& worker) const noexcept;
    bool pass_lines_on(lock& held) noexcept;
    [[nodiscard]] bool lines_are_there() noexcept;
    void handle(process::received&& got);
    void worker_ended(unsigned seat, const process::death& how);
    void note_failed_fork(const process::message& what) noexcept;
    void note_failed_start(const process::worker_entry& worker, const process::death& how) noexcept;
    void look_at_tasks(base::time_point now);
    void look_at_worker(process::worker_entry& worker, base::time_point now);
    void look_at_deadlines(base::time_point now);
    [[nodiscard]] base::time_point end_of_run(const task_record& record,
                                              const process::worker_entry& worker,
                                              base::time_point now);
    void give_up_late(task_record& record, process::worker_entry& worker, base::time_point now);
    void look_at_trace(process::worker_entry& worker, base::time_point now);
    void start_due_workers(base::time_point now);
    void make_server();
    void reset_seat(unsigned seat);
    [[nodiscard]] base::time_point next_look(base::time_point now);

    // ---- deaths.cpp
    void manage(process::worker_entry& worker, process::received&& got);
    void look_at_deaths(base::time_point now);
    void end_unheard(process::worker_entry& worker);
    void server_ended();
    void replace_server(base::time_point now);
    void end_workers_of(const process::fork_server* server);
    void wait_for_unknown(const process::worker_entry& worker) noexcept;
    void ask_to_leave(process::worker_entry& worker) noexcept;
    void kill_worker(process::worker_entry& worker, killer by) noexcept;

    // ---- memory_watch.cpp
    void look_at_memory(base::time_point now);
    void look_at_memory_of(process::worker_entry& worker);
    void end_between_tasks(process::worker_entry& worker);

    pool_options options_;
    exit_data tools_;
    unsigned usable_cpus_ = 1;
    bool inline_only_ = false;
    process::host_mark host_mark_;

    std::mutex mutex_;

    std::unique_ptr<memory::region> region_;
    std::optional<process::control> control_;
    std::optional<memory::budget> budget_;
    std::optional<ring::ring> ring_;
    std::optional<memory::argument_arena> arguments_;
    std::optional<function_check> functions_;

    std::mutex graveyard_mutex_;
    std::vector<memory::block> graveyard_;  ///< blocks of arrays that nobody refers to any more

    std::vector<task_record> records_;  ///< one a slot
    std::uint64_t slot_mask_ = 0;       ///< their number, a power of two, minus 1
    kept_results harvested_;
    std::vector<std::uint64_t> abandoned_;
    std::vector<std::uint64_t> quarantined_;
    std::uint64_t next_position_ = 0;
    std::uint64_t next_inline_ = first_inline;
    std::uint64_t in_ring_ = 0;                 ///< records in use
    std::uint64_t argument_bytes_ = 0;          ///< that they hold outside of their slots
    std::atomic<std::uint64_t> blocks_out_{0};  ///< outcomes that hold a block
    std::vector<std::atomic<std::uint64_t>> held_results_;  ///< the same, by seat
    unsigned room_waiters_ = 0;
    std::uint64_t next_number_ = 0;
    std::uint64_t head_seen_ = 0;       ///< the ring's, when it was looked at last
    std::uint64_t oldest_unended_ = 0;  ///< every task before it has ended: poll()
    struct watched_task {
        ticket task;
        std::function<void()> callback;
    };
    std::vector<watched_task> watches_;  ///< in the order of watch()
    base::unique_fd event_fd_;
    base::time_point next_due_ = base::never;  ///< no deadline lies before it
    base::time_point planned_look_{};          ///< when the monitor wakes by itself
    std::uint64_t timed_tasks_ = 0;
    std::chrono::nanoseconds shortest_timeout_ = std::chrono::nanoseconds::max();
    /// To the newest task, and whether the last wait was short: hints for whether to spin for the
    /// next.
    std::atomic<ring::attention> attention_{ring::attention::awake};
    std::atomic<bool> short_wait_{true};

    std::unique_ptr<process::fork_server> server_;
    std::vector<std::unique_ptr<process::fork_server>> retired_;  ///< whose last workers leave
    std::mutex refresh_mutex_;
    bool refreshing_ = false;  ///< two workers an index may be starting: no others are
    std::condition_variable started_or_ended_;
    struct kept_broadcast {
        memory::block block;
        std::vector<shared_ref> attachments;
    };
    std::vector<kept_broadcast> broadcasts_;
    process::broadcast_call* last_broadcast_ = nullptr;
    process::roster roster_;
    std::optional<logging::log_pump> log_;
    std::thread monitor_;
    base::unique_fd deaths_;             ///< an epoll of the workers' pidfds
    std::vector<unsigned> told_dead_;    ///< seats, by deaths_; of whoever calls sleep_until()
    base::unique_fd wake_fd_;            ///< an eventfd; workers have it too, for their log lines
    bool closing_ = false;               ///< no new tasks
    bool paused_ = false;                ///< workers claim nothing
    bool stopping_ = false;              ///< the monitor is to end
    std::atomic<bool> orphaned_{false};  ///< the pool object is gone
    bool ended_ = false;                 ///< and nobody holds anything of it any more
    std::atomic<unsigned> inside_{0};
    std::string description_;
    std::string broken_;  ///< why no worker can be had any more; empty while one can
    std::string first_start_failure_;
    std::optional<process::crash> first_start_crash_;  ///< what it was, if it was one
    /// What errors keep of the arguments: of the budget, at most an eighth.
    std::shared_ptr<std::atomic<std::uint64_t>> kept_by_errors_ =
        std::make_shared<std::atomic<std::uint64_t>>(0);
    base::time_point next_memory_look_{};
    base::time_point trim_at_ = base::never;  ///< when unused pages of arguments go back
    base::time_point next_deadline_ = base::never;
    stats::report report_;
    process::oom_kills oom_kills_;
    unsigned server_restarts_ = 0;
    base::time_point server_gone_since_{};
    base::time_point server_due_ = base::never;  ///< when another is tried
    /// Of a loss for which there was no memory to say more.
    std::exception_ptr lost_without_words_ = std::make_exception_ptr(
        worker_lost("a worker was lost, and there was no memory to say how", nullptr));

    std::optional<gate::gate> gate_;
    tallies tallies_;
    damage_books damage_;
    std::map<std::string, label_tally> label_tallies_;
    stats::counter inline_runs_{};
    base::tick_scale scale_;
    std::uint64_t spin_ticks_ = 0;  ///< how long a waiter spins
    base::time_point made_at_ = base::monotonic::now();

    static constexpr std::uint64_t first_inline = std::uint64_t{1} << 63;
};

}  // namespace prefork::detail

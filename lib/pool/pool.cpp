#include "prefork/pool.hpp"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "base/fail_point.hpp"
#include "base/kernel.hpp"
#include "base/signal_mask.hpp"
#include "base/system_call.hpp"
#include "codec/exception_codec.hpp"
#include "gate/usable_cpus.hpp"
#include "log/log.hpp"
#include "memory/live_regions.hpp"
#include "pool/core.hpp"
#include "pool/replay.hpp"
#include "pool/shared_block.hpp"
#include "prefork/error.hpp"
#include "process/child_setup.hpp"
#include "process/crash_report.hpp"
#include "process/debugger.hpp"
#include "process/identity.hpp"
#include "process/inner_threads.hpp"
#include "process/leave.hpp"
#include "process/memory_use.hpp"
#include "process/worker_loop.hpp"

// Construction and destruction: the order of things, and nothing else.

namespace prefork::detail {
namespace {

constexpr unsigned most_workers = 255;
constexpr std::size_t most_waiting = 1'000'000;
constexpr unsigned most_retries = 1000;
// What a worker looks for its next task before it sleeps: longer than a round trip by way of the
// kernel (4–70 µs, design.md §3), short enough not to matter.
constexpr base::nanoseconds spin_time{50'000};

[[noreturn]] void senseless(const char* option, const std::string& value, const std::string& limit,
                            const char* of = "pool_options") {
    throw std::invalid_argument(std::string("prefork::") + of + "::" + option + " is " + value +
                                ": " + limit);
}

void check_duration(const char* option, std::chrono::nanoseconds value, bool zero_allowed) {
    if (value.count() < 0 || (!zero_allowed && value.count() == 0)) {
        senseless(option, std::to_string(value.count()) + " ns",
                  zero_allowed ? "it can't be negative" : "it must be positive");
    }
}

void check_load(double limit, const char* of) {
    if (limit >= 0) return;
    senseless("max_load_average", std::to_string(limit), "it can't be negative or not a number",
              of);
}

template <class Enum>
void check_enum(const char* option, Enum value, Enum last) {
    if (value <= last) return;
    senseless(option, std::to_string(static_cast<unsigned>(value)), "no such value");
}

void check(const pool_options& options) {
    if (options.workers > most_workers && options.workers != inline_workers) {
        senseless("workers", std::to_string(options.workers),
                  "at most " + std::to_string(most_workers) + ", or inline_workers");
    }
    if (options.max_load_average) check_load(*options.max_load_average, "pool_options");
    if (options.memory_budget != 0 && options.memory_budget < sizeof(ring::slot)) {
        senseless("memory_budget", std::to_string(options.memory_budget),
                  "at least a slot of " + std::to_string(sizeof(ring::slot)) + " bytes, or 0");
    }
    if (options.queue_limit == 0 || options.queue_limit > most_waiting) {
        senseless("queue_limit", std::to_string(options.queue_limit),
                  "1 to " + std::to_string(most_waiting));
    }
    check_enum("when_full", options.when_full, overflow::run_inline);
    check_enum("idle", options.idle, idle::park);
    check_duration("timeout", options.timeout, true);
    check_duration("grace", options.grace, true);
    check_duration("worker_start_timeout", options.worker_start_timeout, false);
    if (options.retries > most_retries) {
        senseless("retries", std::to_string(options.retries),
                  "at most " + std::to_string(most_retries));
    }
    for (const int fd : options.keep_fds) {
        if (fd < 0) senseless("keep_fds", std::to_string(fd), "not a descriptor");
    }
}

}  // namespace

pool_core::pool_core(const pool_options& options, const exit_data& tools)
    : options_(options), tools_(tools) {
    check(options);
    const char* const from_environment = std::getenv("PREFORK_WORKERS");
    inline_only_ = options.workers == inline_workers ||
                   process::current_role() == process::role::worker ||
                   (from_environment != nullptr && std::strcmp(from_environment, "inline") == 0) ||
                   replay_file() != nullptr;
    const auto mask = gate::process_affinity();
    const gate::cpu_limits limits = gate::read_cpu_limits("", static_cast<unsigned>(mask.size()));
    usable_cpus_ = limits.usable;
    if (options_.workers == 0) options_.workers = std::min(usable_cpus_, most_workers);
    if (inline_only_) options_.workers = 0;
    description_ = "pool '" + options_.name + "': " + std::to_string(options_.workers) +
                   " workers, " + std::to_string(usable_cpus_) + " usable CPUs\n";
    for (const std::string& note : limits.notes) description_ += "  " + note + "\n";
    description_ += "  " + base::kernel_offers() + "\n";
    if (inline_only_) {
        description_ += "  every task runs in the caller\n";
        return;
    }
    report_other_threads();
    // A debugger takes the time that its user takes.
    if (process::debugger_is_wanted())
        options_.worker_start_timeout = std::chrono::nanoseconds::max();
    if (options_.worker_memory_limit != 0 && !base::proc_is_ours()) {
        base::throw_system_error(ENOENT,
                                 "pool_options::worker_memory_limit needs the /proc of this PID "
                                 "namespace, which tells what workers use");
    }
    if (options_.max_load_average) gate_.emplace(*options_.max_load_average, usable_cpus_);
    make_memory();
}

namespace {

base::unique_fd make_event_fd() {
    return base::above_standard_streams(base::checked(
        base::fail_point::refused("pool.eventfd") ? -1 : ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        "eventfd"));
}

[[noreturn]] void fail_to_start_monitor(int error) {
    base::throw_system_error(error, "pthread_create for the monitor");
}

}  // namespace

void pool_core::start() {
    if (const char* const file = replay_file()) replay(file);
    if (inline_only_) return;
    // Twice a hand-over by way of the kernel (4–5 µs, design.md §3, measured here too), and some.
    constexpr double waiter_spin_ns = 20'000;
    spin_ticks_ = static_cast<std::uint64_t>(waiter_spin_ns / scale_.ns_per_tick());
    event_fd_ = make_event_fd();
    wake_fd_ = make_event_fd();
    deaths_ = base::above_standard_streams(base::checked(
        base::fail_point::refused("pool.epoll_create1") ? -1 : ::epoll_create1(EPOLL_CLOEXEC),
        "epoll_create1 for the monitor"));
    functions_.emplace();
    process::release_inner_threads(inner_threads());
    make_server();
    start_workers();
    const base::all_signals_blocked
        no_signals;  // inherited by the monitor: the host's handlers are not its
    if (base::fail_point::refused("pool.pthread_create")) fail_to_start_monitor(errno);
    try {
        monitor_ = std::thread([this] { run_monitor(); });
    } catch (const std::system_error& e) {
        fail_to_start_monitor(e.code().value());
    }
    // From here, for the next pool may be made at once.
    ::pthread_setname_np(monitor_.native_handle(),
                         process::name_of(options_.name, "monitor").data());
}

pool_core::~pool_core() { server_.reset(); }

void pool_core::report_other_threads() {
    std::vector<std::string> threads = base::names_of_other_threads();
    // Monitors of other pools: nobody can do anything about them.
    std::erase_if(threads, [](const std::string& name) { return name.ends_with("/monitor"); });
    if (threads.empty()) return;
    std::string text = std::to_string(threads.size()) + " other thread" +
                       (threads.size() == 1 ? "" : "s") + " ran at the fork (" + threads.front();
    for (std::size_t i = 1; i < threads.size(); ++i) text += ", " + threads[i];
    text += std::string("): what ") + (threads.size() == 1 ? "it" : "they") +
            " had locked stays locked in workers";
    description_ += "  " + text + "\n";
    log(level::warning, "pool '{}': {}", options_.name, text);
}

void pool_core::make_memory() {
    const unsigned workers = options_.workers;
    // A dead worker's seat is taken until its last result is released, so there are more of them.
    const unsigned seats = std::min(workers * 2 + 8, ring::slot_word::max_seats);
    const std::size_t slots = std::bit_ceil(options_.queue_limit + workers + 1);
    const memory::region_request request{
        .control_bytes = process::control::bytes(seats),
        .ring_bytes = slots * (sizeof(ring::slot) + 2 * sizeof(std::uint64_t)),
        .seats = seats,
    };
    memory::cgroup_room room{""};
    if (request.control_bytes + request.ring_bytes > room.now()) {
        base::throw_system_error(
            ENOMEM, "a ring of " + std::to_string(slots) + " slots needs " +
                        std::to_string(request.control_bytes + request.ring_bytes) +
                        " bytes, and the memory cgroup has " + std::to_string(room.now()));
    }
    region_ = std::make_unique<memory::region>(request);
    control_.emplace(region_->control(), seats);
    const std::uint64_t limit =
        options_.memory_budget != 0 ? options_.memory_budget : memory::default_budget();
    budget_.emplace(control_->budget_words(), limit, std::move(room));
    auto* const entries = reinterpret_cast<std::atomic<std::uint64_t>*>(region_->ring().data() +
                                                                        slots * sizeof(ring::slot));
    ring_.emplace(control_->hints(),
                  std::span{reinterpret_cast<ring::slot*>(region_->ring().data()), slots},
                  ring::queue_entries{{entries, slots}, {entries + slots, slots}},
                  ring::sleepers{control_->hints(), control_->beds()});
    arguments_.emplace(*region_, *budget_, seats);
    records_ = std::vector<task_record>(slots);
    slot_mask_ = slots - 1;
    held_results_ = std::vector<std::atomic<std::uint64_t>>(seats);
    roster_ = process::roster{workers, seats};
    log_.emplace(control_->log_rings(), seats);
    description_ += "  memory budget of " + std::to_string(limit >> 20) + " MiB, " +
                    std::to_string(slots) + " slots\n";
}

void pool_core::make_server() {
    process::note_threads_at_fork();
    process::fork_server_options how;
    how.name = options_.name;
    how.keep_fds = options_.keep_fds;
    how.keep_fds.push_back(region_->fd());
    how.keep_fds.push_back(event_fd_.get());
    how.keep_fds.push_back(wake_fd_.get());  // a worker's log line may have to wake the monitor
    const memory::regions_held others;
    base::fail_point::pass("pool.before_server");
    how.prepare = [this, &others, cpus = gate::process_affinity()] {
        gate::set_affinity(cpus);
        others.let_go_of_others(region_->base());
        // A guard against our own bugs: where it can't be had, the server writes nothing either.
        static_cast<void>(region_->become_fork_server());
    };
    how.worker_main = [this](const process::worker_start& start) { return run_worker(start); };
    server_ = std::make_unique<process::fork_server>(how);
}

unsigned pool_core::inner_threads() const noexcept {
    if (options_.inner_threads != 0) return options_.inner_threads;
    return std::max(1u, usable_cpus_ / options_.workers);
}

// What a thread that is not here any more may have held at the fork: a task may use its own pool,
// and the arrays of any.
void pool_core::become_worker() {
    new (&mutex_) std::mutex;
    new (&graveyard_mutex_) std::mutex;
    forget_inherited_blocks();
    process::write_at_exit(tools_.reset, tools_.write);
}

int pool_core::run_worker(process::worker_start start) {
    if (const int error = region_->become_worker(start.seat); error != 0) {
        process::report_start_failed(
            start, std::string("mmap or mprotect of the shared memory: ") + std::strerror(error));
        return 1;
    }
    control_->journal_of(start.seat).pid.store(::getpid(), std::memory_order_release);
    process::watch_crashes(control_->crash_of(start.seat),
                           control_->journal_of(start.seat).running);
    if (start.index == options_.workers) {
        process::name_process(options_.name, "spare");
        const auto index = process::await_turn(*control_, start.seat);
        if (!index) return 0;
        start.index = *index;
        process::name_process(options_.name, std::to_string(start.index));
    }
    process::become_worker(start.index);
    become_worker();
    logging::become_worker(control_->log_rings()[start.seat], wake_fd_.get());
    if (process::debugger_is_wanted() && !process::wait_for_debugger(*control_)) return 0;
    process::limit_inner_threads(inner_threads());
    process::worker_loop_options how;
    how.seat = start.seat;
    how.seed = options_.seed;
    how.event_fd = event_fd_.get();
    how.wake_fd = wake_fd_.get();
    how.room_wait = options_.when_full == overflow::wait ? longest_wait_for_room : longest_sleep;
    how.has_memory_limit = options_.worker_memory_limit != 0;
    how.name = options_.name + "/" + std::to_string(start.index);
    // All CPUs but one may have a worker that looks for work; with more, the kernel would put a
    // spinner before whoever has the work.
    if (options_.idle == idle::spin) how.spin = std::chrono::hours(1);
    if (options_.idle == idle::adaptive && start.index + 1 < usable_cpus_) how.spin = spin_time;
    if (const std::uint64_t tasks = options_.max_tasks_per_worker; tasks != 0) {
        // Spread over an eighth by a hash of the seat's number: Knuth's multiplicative constant.
        const std::uint64_t spread = std::max<std::uint64_t>(tasks / 8, 1);
        how.max_tasks = std::max<std::uint64_t>(1, tasks - (start.seat * 2654435761u) % spread);
    }
    process::worker_loop loop{*region_, *control_, *ring_, *budget_, how};
    const std::uint64_t began_with = process::private_memory(::getpid());
    control_->journal_of(start.seat).memory_at_start.store(began_with, std::memory_order_relaxed);
    process::limit_data(options_.worker_memory_limit);
    try {
        if (options_.on_worker_start) options_.on_worker_start();
    } catch (const std::exception& e) {
        process::report_start_failed(start, std::string("on_worker_start threw: ") + e.what());
        return 1;
    } catch (...) {
        process::report_start_failed(start, "on_worker_start threw " + current_exception_type());
        return 1;
    }
    if (const std::uint64_t limit = options_.worker_memory_limit; limit != 0) {
        const std::uint64_t has = process::private_memory(::getpid());
        if (has > began_with && has - began_with > limit) {
            process::report_start_failed(
                start, "on_worker_start took " + std::to_string(has - began_with) +
                           " bytes, more than the worker_memory_limit of " + std::to_string(limit));
            return 1;
        }
    }
    if (!loop.run_broadcasts()) {
        process::report_start_failed(start, "a broadcast failed in the new worker");
        return 1;
    }
    base::fail_point::pass("worker.before_report");
    process::report_started(start);
    base::fail_point::pass("worker.reported");
    loop.run();
    base::fail_point::pass("worker.before_exit_calls");
    process::run_exit_calls();
    if (options_.on_worker_exit) options_.on_worker_exit();
    return 0;
}

void pool_core::start_workers() {
    const base::time_point began = base::monotonic::now();
    const base::time_point deadline = base::deadline_after(began, options_.worker_start_timeout);
    lock held{mutex_};
    start_due_workers(began);
    while (roster_.running() < options_.workers) {
        const bool again = pass_lines_on(held) || lines_are_there();
        static_cast<void>(sleep_until(held, again ? began : deadline));
        while (auto message = server_->receive()) handle(std::move(*message));
        const bool ended = roster_.next_due() != base::never;
        if (ended || !first_start_failure_.empty() || base::pidfd_ended(server_->pidfd())) {
            pass_lines_on(held);
            throw worker_start_failed(
                "pool '" + options_.name + "': " +
                (!first_start_failure_.empty() ? first_start_failure_
                 : ended                       ? "a worker ended before it had started"
                                               : "the fork server ended") +
                (first_start_crash_ ? process::describe_place(*first_start_crash_) : ""));
        }
        if (base::monotonic::now() >= deadline && roster_.running() < options_.workers) {
            pass_lines_on(held);
            throw worker_start_failed("pool '" + options_.name +
                                      "': on_worker_start took longer than worker_start_timeout");
        }
    }
    pass_lines_on(held);  // what the hooks said
    roster_.keep_spare();
}

// ---- what the headers call

void check_options(const call_options& how) {
    if (how.timeout.count() < 0)
        senseless("timeout", std::to_string(how.timeout.count()) + " ns", "it can't be negative",
                  "task_options");
    if (how.retries > most_retries) {
        senseless("retries", std::to_string(how.retries), "at most " + std::to_string(most_retries),
                  "task_options");
    }
}

pool_core& core_of(pool& of) { return of.core(); }
call_options options_of(pool_core& core) noexcept {
    call_options how;
    how.timeout = core.options().timeout;
    how.retries = core.options().retries;
    return how;
}
unsigned workers_of(pool_core& core) noexcept { return core.options().workers; }
bool gate_open(pool_core& core, const double* limit) {
    if (limit != nullptr) check_load(*limit, "group_options");
    return core.gate_open(limit);
}
ticket submit(pool_core& core, const call& what, const call_options& how) {
    return core.submit(what, how);
}
bool is_ready(pool_core& core, ticket task) { return core.ready(task); }
bool wait(pool_core& core, ticket task, time_point deadline) { return core.wait(task, deadline); }
outcome take(pool_core& core, ticket task) { return core.take(task); }
void help(pool_core& core, ticket task) { core.help(task); }
void broadcast(pool_core& core, const call& what) { core.broadcast(what); }
void abandon(pool_core& core, ticket task) noexcept { core.abandon(task); }
bool cancel(pool_core& core, ticket task) { return core.cancel(task); }
std::optional<ticket> try_submit(pool_core& core, const call& what, call_options how) noexcept {
    return core.try_submit(what, std::move(how));
}
bool wait(pool_core& core, ticket task, time_point deadline, const std::stop_token& stop) {
    return core.wait(task, deadline, stop);
}
std::optional<std::size_t> wait_any(std::span<const pool_task> tasks, time_point deadline) {
    return pool_core::wait_any(tasks, deadline);
}
void watch(pool_core& core, ticket task, std::function<void()> callback) {
    core.watch(task, std::move(callback));
}

void throw_wait_timeout(std::chrono::nanoseconds waited) {
    throw wait_timeout(
        "no result within " +
        std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(waited).count()) +
        " ms; the task goes on");
}
void throw_no_result() {
    throw std::invalid_argument(
        "prefork::future: its result was fetched before, or it never had one");
}
void throw_group_shared() {
    throw std::invalid_argument(
        "prefork::task_group: two threads use it at once, and it belongs to one at a time");
}
void throw_moved_from() { throw std::invalid_argument("prefork::pool: it was moved from"); }
void throw_group_collected() {
    throw group_collected("prefork::task_group: its results were fetched before");
}

}  // namespace prefork::detail

namespace prefork {

// In two steps, so that in the workers, which are forked in the second, this object knows its core:
// a task may use its own pool.
pool::pool(const pool_options& options, const detail::exit_data& tools)
    : core_(new detail::pool_core(options, tools)) {
    try {
        core_->start();
    } catch (...) {
        delete std::exchange(core_, nullptr);
        throw;
    }
}
pool::~pool() { detail::pool_core::close(core_); }
pool& pool::operator=(pool&& other) noexcept {
    if (this != &other)
        detail::pool_core::close(std::exchange(core_, std::exchange(other.core_, nullptr)));
    return *this;
}
std::size_t pool::cancel_all() { return core().cancel_waiting(); }
std::size_t pool::kill_all() { return core().kill_running(); }
void pool::drain() { core().drain(); }
bool pool::shutdown(std::chrono::nanoseconds bound) { return core().shutdown(bound); }
void pool::refresh() { core().refresh(); }
void pool::pause() { core().pause(true); }
void pool::resume() { core().pause(false); }
bool pool::poll() { return core().poll(); }
int pool::event_fd() const { return core().event_fd(); }
pool_stats pool::stats() const { return core().stats(); }
bool pool::healthy() const { return core().healthy(); }
std::string pool::describe() const { return core().describe(); }

}  // namespace prefork

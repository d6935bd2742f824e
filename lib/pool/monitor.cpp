#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <new>
#include <sstream>
#include <string>
#include <utility>

#include "base/fail_point.hpp"
#include "base/signal_mask.hpp"
#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "pool/evidence.hpp"
#include "prefork/error.hpp"
#include "process/crash_report.hpp"
#include "process/memory_use.hpp"

// The host's one thread: it sleeps until a worker dies, a deadline passes or somebody writes to
// wake_fd_, and then asks settle.cpp and the roster what is to be done. Nothing happens here while
// all is well.

namespace prefork::detail {
namespace {

// While memory is short, or more is to be watched than fits.
constexpr std::chrono::milliseconds short_sleep{10};

}  // namespace

void pool_core::wake_monitor() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(::write(wake_fd_.get(), &one, sizeof one));
}

// Of a former fork server what it says, and its end; after that, the ends of its workers.
pool_core::woken pool_core::sleep_until(lock& held, base::time_point deadline) noexcept {
    std::array<pollfd, 64> watched{{{wake_fd_.get(), POLLIN, 0},
                                    {server_ ? server_->socket() : -1, POLLIN, 0},
                                    {server_ ? server_->pidfd() : -1, POLLIN, 0},
                                    {deaths_.get(), POLLIN, 0}}};
    std::size_t count = 4;
    const auto watch = [&](int fd) {
        if (count < watched.size()) {
            watched[count++] = {fd, POLLIN, 0};
        } else {
            deadline = std::min(deadline, base::monotonic::now() + short_sleep);
        }
    };
    for (const auto& each : retired_) {
        if (base::pidfd_ended(each->pidfd())) continue;
        watch(each->socket());
        watch(each->pidfd());
    }
    for (const process::worker_entry& each : roster_.all()) {
        if (each.orphaned && roster_.is_alive(each.seat)) watch(each.pidfd.get());
    }
    held.unlock();
    timespec bound{};
    if (deadline != base::never) {
        const auto left = std::max(deadline - base::monotonic::now(), base::nanoseconds(0)).count();
        bound = {static_cast<time_t>(left / 1'000'000'000),
                 static_cast<long>(left % 1'000'000'000)};
    }
    const int ready =
        base::fail_point::refused("monitor.ppoll")
            ? -1
            : ::ppoll(watched.data(), count, deadline == base::never ? nullptr : &bound, nullptr);
    held.lock();
    if (ready == 0) return woken::by_time;
    if (ready > 0 && watched[3].revents != 0) {
        epoll_event ended[16];
        const int told = base::fail_point::refused("monitor.epoll_wait")
                             ? -1
                             : ::epoll_wait(deaths_.get(), ended, std::size(ended), 0);
        try {
            for (int i = 0; i < told; ++i) told_dead_.push_back(ended[i].data.u32);
        } catch (const std::bad_alloc&) {
            // There is still the fork server's word.
        }
    }
    if (ready > 0 && watched[0].revents != 0) {
        std::uint64_t drained = 0;
        static_cast<void>(::read(wake_fd_.get(), &drained, sizeof drained));
    }
    return ready > 0 && watched[2].revents != 0 ? woken::by_end_of_server : woken::by_news;
}

// ---- log lines

// One that runs before the fork server's word of it is read has to wait for a moment.
bool pool_core::logs(const process::worker_entry& worker) const noexcept {
    return roster_.is_alive(worker.seat) && worker.pid != 0;
}

// Out of the rings with the lock held, to the handler without it. True if there were any.
bool pool_core::pass_lines_on(lock& held) noexcept {
    logging::log_batch lines;
    try {
        for (const process::worker_entry& each : roster_.all()) {
            if (logs(each)) log_->collect(each.seat, each.pid, each.index);
        }
        lines = log_->take();
    } catch (const std::bad_alloc&) {
        // Lines are what can be spared first.
    }
    if (lines.empty()) return false;
    held.unlock();
    lines.deliver(options_.name);
    held.lock();
    return true;
}

// Asks every worker for a wake with its next line.
bool pool_core::lines_are_there() noexcept {
    bool any = false;
    for (const process::worker_entry& each : roster_.all()) {
        if (logs(each)) any |= !log_->fall_asleep(each.seat);
    }
    return any;
}

// ---- the thread

void pool_core::run_monitor() noexcept {
    base::fail_point::enter(base::fail_points::monitor);
    lock held{mutex_};
    while (!stopping_) {
        try {
            look_at_everything(held);
        } catch (const std::bad_alloc&) {
            // What could not be done is still to be done: there may be memory in a moment.
            static_cast<void>(sleep_until(held, base::monotonic::now() + short_sleep));
        }
    }
}

void pool_core::look_at_everything(lock& held) {
    // As long as there are lines, workers are not asked to wake us for them.
    const bool again = pass_lines_on(held) || lines_are_there();
    const base::time_point now = base::monotonic::now();
    make_room_for_results();
    look_at_tasks(now);
    look_for_damage(now);
    report_damage(held);
    look_at_memory(now);
    replace_server(now);
    start_due_workers(now);
    if (gate_) gate_->sample(now);
    if (now >= trim_at_) {
        if (in_ring_ == 0) arguments_->trim(most_kept_idle);
        harvested_.trim();
        trim_at_ = base::never;
    }
    for (process::worker_entry& each : roster_.all()) {
        if (each.phase == process::phase::pinned &&
            held_results_[each.seat].load(std::memory_order_acquire) == 0) {
            vacate(each);
        }
    }
    const base::time_point next = again ? now : next_look(now);
    planned_look_ = next;
    const woken why = sleep_until(held, next);
    planned_look_ = {};  // it looks now, so there is no need to wake it
    while (server_) {
        auto message = server_->receive();
        if (!message) break;
        // The last lines of the dead come before the errors of their tasks.
        if (message->what.kind == process::message_kind::reaped) pass_lines_on(held);
        handle(std::move(*message));
    }
    look_at_retired();
    look_at_deaths(base::monotonic::now());
    if (why == woken::by_end_of_server && server_ && base::pidfd_ended(server_->pidfd()) &&
        !stopping_) {
        server_ended();
    }
}

void pool_core::handle(process::received&& got) {
    const process::message& what = got.what;
    if (what.kind == process::message_kind::fork_failed) note_failed_fork(what);
    if (what.seat >= roster_.all().size()) return;
    process::worker_entry& worker = roster_.at(what.seat);
    switch (what.kind) {
        case process::message_kind::forked:
            if (worker.phase != process::phase::starting) return;
            manage(worker, std::move(got));
            return;
        case process::message_kind::started:
            roster_.started(what.seat);
            worker.began_with =
                control_->journal_of(what.seat).memory_at_start.load(std::memory_order_relaxed);
            started_or_ended_.notify_all();
            if (!roster_.is_alive(what.seat)) return;
            server_restarts_ = 0;
            // Of several that start at once, one is not to hide why another can't.
            if (monitor_.joinable() && !refreshing_) {
                first_start_failure_.clear();
                first_start_crash_.reset();
            }
            broken_.clear();
            return;
        case process::message_kind::start_failed:
            if (first_start_failure_.empty()) first_start_failure_ = what.text;
            return;
        case process::message_kind::fork_failed:
            if (worker.phase == process::phase::starting && worker.pid == 0)
                worker_ended(what.seat, {});
            return;
        case process::message_kind::reaped:
            if (roster_.is_alive(what.seat) && worker.pid == what.pid) {
                worker_ended(what.seat,
                             {what.code, what.status, std::uint64_t{what.peak_kib} * 1024});
            }
            return;
    }
}

void pool_core::note_failed_fork(const process::message& what) noexcept {
    if (!first_start_failure_.empty()) return;
    try {
        first_start_failure_ = std::string(what.text) + ": " + ::strerrordesc_np(what.code);
    } catch (const std::bad_alloc&) {
        // As below.
    }
}

void pool_core::note_failed_start(const process::worker_entry& worker,
                                  const process::death& how) noexcept {
    try {
        first_start_crash_ = process::read_crash(control_->crash_of(worker.seat), worker.pid);
        first_start_failure_ = "worker " + std::to_string(worker.index) +
                               " ended before it had started: " +
                               process::describe_end(how.code, how.status, first_start_crash_);
    } catch (const std::bad_alloc&) {
        // It is a sentence, and can be spared.
    }
}

void pool_core::worker_ended(unsigned seat, const process::death& how) {
    process::worker_entry& worker = roster_.at(seat);
    const bool was_running = worker.phase == process::phase::running;
    if (!was_running && !roster_.is_spare(worker) && first_start_failure_.empty() &&
        how.code != 0) {
        note_failed_start(worker, how);
    }
    const process::journal& notes = control_->journal_of(seat);
    const auto running = notes.running.load(std::memory_order_acquire);
    // On its way out, it may have been killed for what it held.
    const bool was_leaving = worker.killed_by == killer::memory_limit &&
                             notes.turn.load(std::memory_order_relaxed) == process::has_left;
    const bool exited = how.code == CLD_EXITED && how.status == 0;
    const bool in_peace = was_running && running == 0 && (exited || was_leaving);
    // One that had to leave for want of a pidfd is no reason to fork the next at once.
    const bool useful =
        (in_peace && worker.pidfd) || notes.counts.count.load(std::memory_order_relaxed) > 0;
    report_.retire(notes.counts);
    budget_->freeze(seat);
    ++damage_.deaths;
    worker.trace_until = {};
    look_at_trace(worker, base::monotonic::now());
    try {
        log_->collect(seat, worker.pid, worker.index);
    } catch (const std::bad_alloc&) {
        // Lines are what can be spared first.
    }
    roster_.ended(seat, base::monotonic::now(), useful);
    started_or_ended_.notify_all();
    mend_shared();
    // model: settle.proof
    settle_death(worker, how);
    if (was_running && !in_peace) ++tallies_.lost_workers;
    if (held_results_[seat].load(std::memory_order_acquire) == 0) vacate(worker);
    if (!monitor_.joinable() || stopping_)
        return;  // construction looks for itself; the end needs no more
    const base::time_point since = roster_.failing_since();
    if (broken_.empty() && roster_.running() == 0 && since != base::never &&
        base::monotonic::now() - since >= patience) {
        broken_ = "pool '" + options_.name + "': workers can't be started: " +
                  (first_start_failure_.empty() ? "they end at once" : first_start_failure_);
        // Milliseconds with the mutex held, when there is nobody left who could run anything.
        if (first_start_crash_) broken_ += process::describe_place(*first_start_crash_);
        fail_everything(broken_);
    }
}

void pool_core::start_due_workers(base::time_point now) {
    if (stopping_ || refreshing_ || !server_) return;
    for (process::worker_entry& each : roster_.all()) {
        if (each.phase == process::phase::starting && !roster_.is_spare(each) && each.pid != 0 &&
            now - each.since > options_.worker_start_timeout) {
            if (first_start_failure_.empty()) {
                first_start_failure_ = "on_worker_start took longer than worker_start_timeout";
            }
            kill_worker(each, killer::none);
        }
        // Asked for, and nothing heard for so long: the fork server was stopped. There is nothing
        // that it would take with it.
        if (each.phase == process::phase::starting && !roster_.is_spare(each) && each.pid == 0 &&
            roster_.running() == 0 && now - each.since > options_.worker_start_timeout) {
            base::pidfd_send_signal(server_->pidfd(), SIGKILL);
        }
    }
    for (const unsigned index : roster_.due(now)) {
        if (const auto spare = roster_.promote(index, now)) {
            // Release: the worker reads what the host did to its seat before.
            control_->journal_of(*spare).turn.store(index + 1, std::memory_order_release);
            ring_->beds().wake_seat(*spare);
            continue;
        }
        const auto seat = roster_.begin_start(index, now);
        if (!seat) return;
        reset_seat(*seat);
        roster_.at(*seat).server = server_.get();
        if (!server_->fork_worker(*seat, index)) {
            const int error = errno;
            // If the server is gone, server_ended() is about to hear of it: due again after that.
            roster_.ended(*seat, now, false);
            vacate(roster_.at(*seat));
            // It is gone, and may have said why; ECONNRESET: before it had read all requests.
            const bool is_gone = error == EPIPE || error == ECONNRESET;
            if (first_start_failure_.empty() && !is_gone) {
                first_start_failure_ =
                    std::string("send to the fork server: ") + ::strerrordesc_np(error);
            }
            return;
        }
    }
}

void pool_core::reset_seat(unsigned seat) {
    process::journal& notes = control_->journal_of(seat);
    for (auto* word : {&notes.running, &notes.started, &notes.left, &notes.memory_at_start,
                       &notes.turn, &notes.stop_for}) {
        word->store(0, std::memory_order_relaxed);
    }
    notes.pid.store(0, std::memory_order_relaxed);
    notes.extended.store(0, std::memory_order_relaxed);  // by a task that ended its worker
    notes.counts.reset();
    log_->reset(seat);
}

void pool_core::look_at_tasks(base::time_point now) {
    next_deadline_ = base::never;
    if (timed_tasks_ > 0) next_deadline_ = base::deadline_after(now, shortest_timeout_);
    if (now >= next_due_) look_at_deadlines(now);
    next_deadline_ = std::min(next_deadline_, next_due_);
    for (process::worker_entry& each : roster_.all()) {
        if (roster_.is_alive(each.seat)) look_at_worker(each, now);
    }
    end_quarantine();
}

// What waits past its deadline never starts. (A worker that claims it at this moment looks at the
// clock too.) What runs is the business of look_at_worker().
void pool_core::look_at_deadlines(base::time_point now) {
    constexpr std::chrono::milliseconds claim_time{1};
    base::time_point next = base::never;
    for (task_record& record : records_) {
        if (!record.in_use || record.quarantined || record.deadline == base::never) continue;
        ring::slot_word word = ring_->word(record.position);
        while (record.deadline <= now && word.state() == ring::state::ready) {
            if (end_task(record, word, ring::state::timed_out, late_in_queue(record))) {
                count_late_in_queue(record);
                word = ring_->word(record.position);
            }
        }
        if (word.is_terminal()) continue;
        // What was claimed a moment ago may begin all the same: looked at again.
        next = std::min(next, std::max(record.deadline, now + claim_time));
    }
    next_due_ = next;
}

// By what its journal says of itself, which is believed: whoever can prolong its own time has no
// need to lie. One that says that it will begin later began when it was seen first.
base::time_point pool_core::end_of_run(const task_record& record,
                                       const process::worker_entry& worker, base::time_point now) {
    const process::journal& notes = control_->journal_of(worker.seat);
    const std::uint64_t started = notes.started.load(std::memory_order_relaxed);
    const base::nanoseconds ran =
        started <= base::ticks() ? scale_.since(started) : now - worker.seen_since;
    // Numbers of someone gone wild may not fit.
    const std::chrono::duration<long double, std::nano> prolonged{std::clamp<std::int64_t>(
        notes.extended.load(std::memory_order_relaxed), 0, std::int64_t{1} << 62)};
    return base::deadline_after(now, prolonged + record.timeout - ran);
}

void pool_core::look_at_worker(process::worker_entry& worker, base::time_point now) {
    if (worker.unheard_until <= now) return end_unheard(worker);
    next_deadline_ = std::min(next_deadline_, worker.unheard_until);
    if (worker.kill_at <= now) finish_condemned(worker);
    look_at_trace(worker, now);
    next_deadline_ = std::min(next_deadline_, worker.kill_at);
    const process::journal& notes = control_->journal_of(worker.seat);
    const ring::slot_word running{notes.running.load(std::memory_order_acquire)};
    if (running.bits() == 0) return;
    if (!ring::same_run(std::exchange(worker.seen_run, running), running)) worker.seen_since = now;
    task_record& record = record_at(running.seq());
    const ring::slot_word word = ring_->word(record.position);
    if (!record.in_use || !ring::same_run(word, running) || word.state() != ring::state::claimed ||
        word.owner() != worker.seat + 1) {
        return;
    }
    base::time_point end = record.deadline;
    if (record.timeout.count() > 0) end = std::min(end, end_of_run(record, worker, now));
    if (now < end) {
        next_deadline_ = std::min(next_deadline_, end);
        return;
    }
    give_up_late(record, worker, now);
}

// The caller has its answer at once. Then the worker is asked where it is; when it has said so, or
// didn't, it is asked to stop; then comes the grace, and the kill.
void pool_core::give_up_late(task_record& record, process::worker_entry& worker,
                             base::time_point now) {
    constexpr std::chrono::milliseconds longest_trace{100};  // on a busy machine, too
    char why[96];
    if (record.deadline <= now) {
        std::snprintf(why, sizeof why, " ran past its deadline");
    } else {
        std::snprintf(why, sizeof why, " ran for longer than its timeout of %g ms",
                      std::chrono::duration<double, std::milli>(record.timeout).count());
    }
    const auto trace = std::make_shared<process::pending_trace>();
    log_->collect(worker.seat, worker.pid, worker.index);
    loss known = about(record, worker, base::ticks());
    known.attempts = record.lost_runs + 1;
    known.killed_by = killer::timeout;
    known.memory = process::private_memory(worker.pid);
    known.peak_memory = process::peak_memory(worker.pid);
    const auto evidence = gather_evidence(record, std::move(known));
    const std::string what =
        "task " + std::to_string(record.position) + of_pool() + labelled(record.label) + why;
    evidence->await(what, trace);
    const auto failure = std::make_exception_ptr(task_timeout(what, evidence));
    ring::slot_word word = ring_->word(record.position);
    while (word.state() == ring::state::claimed) {
        if (!end_task(record, word, ring::state::timed_out, failure)) continue;
        ++tallies_.timeouts;
        worker.condemned_for = word;
        worker.condemned_by = killer::timeout;
        worker.trace = trace;
        worker.trace_until = now + longest_trace;
        base::pidfd_send_signal(worker.pidfd.get(), process::trace_signal);
        look_at_trace(worker, now);
        return;
    }
    trace->settle(std::nullopt);
}

void pool_core::look_at_trace(process::worker_entry& worker, base::time_point now) {
    constexpr std::chrono::microseconds poll_interval{100};
    if (!worker.trace) return;
    std::optional<process::crash> answer;
    try {
        answer = process::read_trace(control_->crash_of(worker.seat), worker.condemned_for);
    } catch (const std::bad_alloc&) {
        // The trace can be spared, and the kill can't.
    }
    if (!answer && now < worker.trace_until) {
        next_deadline_ = std::min(next_deadline_, now + poll_interval);
        return;
    }
    std::exchange(worker.trace, nullptr)->settle(std::move(answer));
    condemn(worker, worker.condemned_for, worker.condemned_by);
    next_deadline_ = std::min(next_deadline_, worker.kill_at);
}

base::time_point pool_core::next_look(base::time_point now) {
    base::time_point next = std::min(next_deadline_, roster_.next_due());
    if (!server_) next = std::min(next_deadline_, server_due_);
    if (options_.worker_memory_limit != 0) next = std::min(next, next_memory_look_);
    for (const process::worker_entry& each : roster_.all()) {
        if (each.phase == process::phase::starting && !roster_.is_spare(each)) {
            const auto end = base::deadline_after(each.since, options_.worker_start_timeout);
            const auto after = base::deadline_after(end, std::chrono::milliseconds(1));
            // What should have come by then is looked for again and again, but not without a pause.
            next = std::min(next, after > now ? after : now + longest_sleep);
        }
    }
    next = std::min({next, trim_at_, damage_.next_look});
    if (gate_) next = std::min(next, now + std::chrono::seconds(1));
    return next;
}

}  // namespace prefork::detail

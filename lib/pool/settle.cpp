#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <string>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"
#include "process/crash_report.hpp"
#include "process/stop_watch.hpp"

// What becomes of a task whose worker is gone or late, or that is given up. The host alone settles,
// with its mutex held, and everything ends when the host ends: nothing here has to survive its own
// death.

namespace prefork::detail {

std::string pool_core::of_pool() const {
    return options_.name == pool_options{}.name ? "" : " of pool '" + options_.name + "'";
}

// ---- one task

bool pool_core::end_task(task_record& record, ring::slot_word& word, ring::state as,
                         const std::exception_ptr& failure) {
    // model: give_up.word, settle.lost
    if (!ring_->change(record.position, word, word.with(as))) return false;
    base::fail_point::pass("settle.ended");
    record.failure = failure;
    ++tallies_.failed;
    // model: give_up.wake, settle.wake
    if (word.waited()) base::futex_wake(ring_->at(record.position).futex(), base::every_waiter);
    if (word.watched()) {
        ring_->announce();
        signal_event();
    }
    return true;
}

bool pool_core::give_up(task_record& record, ring::state as, const std::exception_ptr& failure,
                        killer by) {
    ring::slot_word word = ring_->word(record.position);
    while (word.state() == ring::state::ready || word.state() == ring::state::claimed) {
        if (!end_task(record, word, as, failure)) continue;  // `word` is what it holds now
        const unsigned owner = word.owner();
        if (word.state() == ring::state::claimed && owner != 0 && roster_.is_alive(owner - 1)) {
            condemn(roster_.at(owner - 1), word, by);
        }
        return true;
    }
    return false;
}

bool pool_core::cancel(ticket task) {
    require_host_for(task);
    lock held{mutex_};
    task_record* const record = find(task);
    if (record == nullptr) return false;
    return give_up(*record, ring::state::cancelled,
                   std::make_exception_ptr(cancelled("the task was cancelled")), killer::pool);
}

std::size_t pool_core::cancel_waiting() {
    require_host();
    lock held{mutex_};
    const auto failure =
        std::make_exception_ptr(cancelled("the task was cancelled by cancel_all()"));
    std::size_t count = 0;
    for (task_record& record : records_) {
        if (!record.in_use || record.quarantined) continue;
        ring::slot_word word = ring_->word(record.position);
        while (word.state() == ring::state::ready) {
            if (!end_task(record, word, ring::state::cancelled, failure)) continue;
            ++count;
            break;
        }
    }
    return count;
}

std::size_t pool_core::kill_running() {
    require_host();
    lock held{mutex_};
    const auto failure = std::make_exception_ptr(cancelled("the task was ended by kill_all()"));
    std::size_t count = 0;
    for (task_record& record : records_) {
        if (!record.in_use || record.quarantined) continue;
        const ring::slot_word word = ring_->word(record.position);
        if (word.state() != ring::state::claimed) continue;
        if (!give_up(record, ring::state::cancelled, failure, killer::pool)) continue;
        ++count;
        if (!roster_.is_alive(word.owner() - 1)) continue;
        process::worker_entry& worker = roster_.at(word.owner() - 1);
        worker.kill_at = base::monotonic::now();  // no grace: that is what was asked for
        finish_condemned(worker);
    }
    return count;
}

// ---- one worker

void pool_core::condemn(process::worker_entry& worker, ring::slot_word task, killer by) {
    process::request_stop(control_->journal_of(worker.seat), task);
    // model: give_up.condemn
    worker.condemned_for = task;
    worker.condemned_by = by;
    worker.kill_at = base::deadline_after(base::monotonic::now(), options_.grace);
    wake_monitor();
}

void pool_core::finish_condemned(process::worker_entry& worker) {
    process::journal& notes = control_->journal_of(worker.seat);
    // model: condemn.look
    const ring::slot_word left{notes.left.load(std::memory_order_acquire)};
    if (ring::same_run(left, worker.condemned_for)) {
        worker.kill_at = base::never;  // it has left the task by itself
        return;
    }
    std::uint64_t running = notes.running.load(std::memory_order_acquire);
    const ring::slot_word now{running};
    if (!ring::same_run(now, worker.condemned_for)) {
        // Claimed and about to begin, or about to say that it has left: it will be one of the two.
        worker.kill_at = base::monotonic::now() + std::chrono::milliseconds(1);
        return;
    }
    // Once the journal says `lost`, the worker can't go on to another task, so the kill hits this
    // one.
    // model: condemn.mark
    if (!notes.running.compare_exchange_strong(running, now.with(ring::state::lost).bits(),
                                               std::memory_order_acq_rel)) {
        worker.kill_at = base::monotonic::now();
        return;
    }
    base::fail_point::pass("settle.before_kill");
    worker.killed_by = worker.condemned_by;
    worker.kill_at = base::never;
    // model: condemn.kill
    kill_worker(worker);
}

void pool_core::settle_death(process::worker_entry& worker, const process::death& how) {
    base::fail_point::pass("settle.death");
    const unsigned owner = worker.seat + 1;
    task_record* lost = nullptr;
    for (task_record& record : records_) {
        if (!record.in_use) continue;
        const ring::slot_word word = ring_->word(record.position);
        if (word.owner() != owner) continue;
        if (word.state() == ring::state::claimed && !record.quarantined) {
            if (!run_elsewhere(record, word, worker)) lost = &record;
        } else if (word.state() == ring::state::done) {
            // model: settle.harvest
            harvest(record, word);  // counts what it holds of the dead worker's part
        }
    }
    ring_->recover(owner, oldest_unclaimed());
    signal_event();  // it may have died before it told
    end_quarantine();
    // During construction the first failure is the answer: nobody starts again.
    if (monitor_.joinable()) start_due_workers(base::monotonic::now());
    // Last, because reading symbols takes milliseconds.
    if (lost != nullptr) lose(*lost, worker, how);
}

// A task that had not begun runs elsewhere, silently, exactly once; one that had, if the caller
// allowed it.
bool pool_core::run_elsewhere(task_record& record, ring::slot_word word,
                              const process::worker_entry& worker) {
    // model: settle.journal
    const ring::slot_word running{
        control_->journal_of(worker.seat).running.load(std::memory_order_acquire)};
    if (ring::same_run(running, word)) {
        ++record.lost_runs;
        if (record.retries_left == 0) return false;
        --record.retries_left;
        ++tallies_.retried;
        if (!record.arguments && record.kept) {
            std::memcpy(ring_->at(record.position).payload.data(), record.kept->data(),
                        record.size);
        }
        fill_slot(record, ring_->at(record.position));
    }
    while (word.state() == ring::state::claimed && !ring_->put_back(word, word.attempt() + 1)) {
        word = ring_->word(record.position);
    }
    return true;
}

void pool_core::lose(task_record& record, const process::worker_entry& worker,
                     const process::death& how) {
    const auto crash = process::read_crash(control_->crash_of(worker.seat), worker.pid);
    loss details;
    details.signal = how.code == CLD_EXITED ? 0 : how.status;
    details.exit_status = how.code == CLD_EXITED ? how.status : 0;
    details.attempts = record.lost_runs;
    details.killed_by = who_killed(worker, how);
    if (crash) details.stack_trace = process::symbolise(*crash);
    details.log_tail = log_->tail(worker.seat);
    const std::string runs = std::to_string(record.lost_runs);
    std::string end = process::describe_end(how.code, how.status, crash);
    if (worker.grown_by != 0) {
        end += ", for it had grown by " + std::to_string(worker.grown_by) +
               " bytes, beyond the worker_memory_limit of " +
               std::to_string(options_.worker_memory_limit);
    }
    const std::string what = "worker " + std::to_string(worker.index) + of_pool() +
                             " lost: " + end + " (task " + std::to_string(record.position) +
                             labelled(record.label) + ", attempt " + runs + " of " + runs + ")";
    if (record.label) details.label = *record.label;
    const auto failure = details.killed_by == killer::memory_limit
                             ? std::make_exception_ptr(memory_exceeded(what, details))
                             : std::make_exception_ptr(worker_lost(what, details));
    ring::slot_word word = ring_->word(record.position);
    while (word.state() == ring::state::claimed &&
           !end_task(record, word, ring::state::lost, failure)) {
    }
}

killer pool_core::who_killed(const process::worker_entry& worker, const process::death& how) {
    if (worker.killed_by != killer::none) return worker.killed_by;
    if (how.code == CLD_EXITED || how.status != SIGKILL) return killer::none;
    return oom_kills_.take() ? killer::oom_killer : killer::stranger;
}

std::uint64_t pool_core::oldest_unclaimed() {
    std::uint64_t oldest = next_position_;
    for (const task_record& record : records_) {
        if (record.in_use && record.position < oldest &&
            ring_->word(record.position).state() == ring::state::ready) {
            oldest = record.position;
        }
    }
    return oldest;
}

void pool_core::fail_everything(const std::string& why) {
    const auto failure = std::make_exception_ptr(pool_broken(why));
    for (task_record& record : records_) {
        if (record.in_use && !record.quarantined) {
            static_cast<void>(give_up(record, ring::state::lost, failure, killer::pool));
        }
    }
    wake_room_waiters();
}

}  // namespace prefork::detail

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <new>
#include <string>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "base/system_call.hpp"
#include "base/tick.hpp"
#include "pool/core.hpp"
#include "pool/damage.hpp"
#include "pool/evidence.hpp"
#include "prefork/error.hpp"
#include "process/crash_report.hpp"
#include "process/stop_watch.hpp"

// What becomes of a task whose worker is gone or late, or that is given up. The host alone settles,
// with its mutex held, and everything ends when the host ends: nothing here has to survive its own
// death.

namespace prefork::detail {
namespace {

// A worker says within microseconds that it has left a task, or begun it.
constexpr std::chrono::seconds longest_doubt{1};

}  // namespace

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

// Its deadline passed while it waited: for its first run, or, when that was lost, for another.
std::exception_ptr pool_core::late_in_queue(const task_record& record) const {
    if (record.lost_runs == 0) return expired(record.label);
    return std::make_exception_ptr(task_timeout(
        "task " + std::to_string(record.position) + of_pool() + labelled(record.label) +
        " was not run again before its deadline: its worker was lost in attempt " +
        std::to_string(record.lost_runs)));
}

void pool_core::count_late_in_queue(const task_record& record) noexcept {
    ++(record.lost_runs == 0 ? tallies_.expired : tallies_.timeouts);
}

// ---- one worker

void pool_core::condemn(process::worker_entry& worker, ring::slot_word task, killer by) {
    process::request_stop(control_->journal_of(worker.seat), task);
    // model: give_up.condemn
    worker.condemned_for = task;
    worker.condemned_by = by;
    worker.asked_to_stop = task.bits();
    worker.kill_at = base::deadline_after(base::monotonic::now(), options_.grace);
    worker.overdue_at = base::deadline_after(worker.kill_at, longest_doubt);
    wake_monitor();
}

void pool_core::finish_condemned(process::worker_entry& worker) {
    process::journal& notes = control_->journal_of(worker.seat);
    // model: condemn.look
    const ring::slot_word left{notes.left.load(std::memory_order_acquire)};
    std::uint64_t running = notes.running.load(std::memory_order_acquire);
    const ring::slot_word now{running};
    const bool in_it = ring::same_run(now, worker.condemned_for);
    if (!in_it && ring::same_run(left, worker.condemned_for)) {
        worker.kill_at = base::never;  // it has left the task by itself
        return;
    }
    const base::time_point time = base::monotonic::now();
    if (!in_it && time < worker.overdue_at) {
        // Claimed and about to begin, or about to say that it has left: it will be one of the two.
        worker.kill_at = time + std::chrono::milliseconds(1);
        return;
    }
    if (worker.pid == 0) {  // the fork server's word of it is still to come
        worker.kill_at = base::monotonic::now() + std::chrono::milliseconds(1);
        return;
    }
    // Once the journal says `lost`, the worker can't go on to another task, so the kill hits this
    // one. Overdue: somebody has written over its journal, and nobody can tell any more.
    // model: condemn.mark
    if (!notes.running.compare_exchange_strong(running, now.with(ring::state::lost).bits(),
                                               std::memory_order_acq_rel) &&
        time < worker.overdue_at) {
        worker.kill_at = time;
        return;
    }
    base::fail_point::pass("settle.before_kill");
    worker.kill_at = base::never;
    // model: condemn.kill
    kill_worker(worker, worker.condemned_by);
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
            harvest_of_dead(record, word);
        }
    }
    ring_->recover(owner, oldest_unclaimed());
    signal_event();  // it may have died before it told
    end_quarantine();
    // During construction the first failure is the answer: nobody starts again.
    try {
        if (monitor_.joinable()) start_due_workers(base::monotonic::now());
    } catch (const std::bad_alloc&) {
        // The monitor's next look starts them.
    }
    if (lost != nullptr) lose(*lost, worker, how);
}

// Its result counts from here on for what it holds of the dead worker's part. Where there is no
// memory for that, the part goes all the same.
void pool_core::harvest_of_dead(task_record& record, ring::slot_word word) noexcept {
    try {
        harvest(record, word);
    } catch (const std::bad_alloc&) {
        record.failure = lost_without_words_;
    }
}

// A task that had not begun runs elsewhere, silently, exactly once; one that had, if the caller
// allowed it.
bool pool_core::run_elsewhere(task_record& record, ring::slot_word word,
                              const process::worker_entry& worker) {
    // model: settle.journal
    const ring::slot_word running{
        control_->journal_of(worker.seat).running.load(std::memory_order_acquire)};
    // A journal that is written over doesn't say that it had not begun.
    if (ring::same_run(running, word) || !may_run(running, worker.seat)) {
        ++record.lost_runs;
        if (record.retries_left == 0) return false;
        --record.retries_left;
        ++tallies_.retried;
    }
    // Always: what made the worker end may be what somebody wrote into the slot, and one that was
    // about to say that the task's time had come has written there too.
    if (!record.arguments) {
        std::memcpy(ring_->at(record.position).payload.data(), record.kept.data(), record.size);
    }
    fill_slot(record, ring_->at(record.position));
    ++record.attempt;
    while (word.state() == ring::state::claimed && !ring_->put_back(word, record.attempt)) {
        word = ring_->word(record.position);
    }
    return true;
}

void pool_core::lose(task_record& record, const process::worker_entry& worker,
                     const process::death& how) noexcept {
    std::exception_ptr failure = lost_without_words_;
    try {
        failure = describe_loss(record, worker, how);
    } catch (const std::bad_alloc&) {
        // Without the words, then.
    }
    ring::slot_word word = ring_->word(record.position);
    while (word.state() == ring::state::claimed &&
           !end_task(record, word, ring::state::lost, failure)) {
    }
}

std::exception_ptr pool_core::describe_loss(task_record& record,
                                            const process::worker_entry& worker,
                                            const process::death& how) {
    auto crash = process::read_crash(control_->crash_of(worker.seat), worker.pid);
    loss details = about(record, worker, crash ? crash->ended : base::ticks());
    details.signal = how.code == CLD_EXITED ? 0 : how.status;
    details.exit_status = how.code == CLD_EXITED ? how.status : 0;
    details.attempts = record.lost_runs;
    details.killed_by = who_killed(worker, how);
    details.memory = crash ? crash->memory : worker.memory;
    details.peak_memory = how.peak_memory;
    const std::string runs = std::to_string(record.lost_runs);
    const std::string before = "worker " + std::to_string(worker.index) + of_pool() +
                               " lost: " + process::describe_end(how.code, how.status, crash);
    const bool too_large = details.killed_by == killer::memory_limit;
    std::string after;
    if (too_large) {
        after = ", for it had grown by " + std::to_string(worker.grown_by) +
                " bytes, beyond the worker_memory_limit of " +
                std::to_string(options_.worker_memory_limit);
    }
    if (worker.wild) after += ", for shared memory was written over while it ran tasks";
    after += " (task " + std::to_string(record.position) + labelled(record.label) + ", attempt " +
             runs + " of " + runs + ")";
    const auto evidence = gather_evidence(record, std::move(details));
    // Something else may have ended it while it wrote its record.
    if (crash && crash->signal != how.status) crash.reset();
    evidence->tell(before, after, std::move(crash));
    return too_large ? std::make_exception_ptr(memory_exceeded(before + after, evidence))
                     : std::make_exception_ptr(worker_lost(before + after, evidence));
}

// What is known of a run that ended at `ended`, in ticks; all of it is the worker's own word.
loss pool_core::about(const task_record& record, const process::worker_entry& worker,
                      std::uint64_t ended) {
    loss known;
    const process::journal& notes = control_->journal_of(worker.seat);
    const base::nanoseconds began = scale_.since(notes.started.load(std::memory_order_relaxed));
    known.run_time = std::max(began - scale_.since(ended), base::nanoseconds(0));
    known.log_tail = log_->tail(worker.seat);
    if (record.label) known.label = *record.label;
    return known;
}

killer pool_core::who_killed(const process::worker_entry& worker, const process::death& how) {
    // Our kill may have come too late: it crashed, or left, by itself.
    const bool may_be_ours = how.code == 0 || (how.code == CLD_KILLED && how.status == SIGKILL);
    if (worker.killed_by != killer::none && may_be_ours) return worker.killed_by;
    if (how.code == CLD_EXITED || how.status != SIGKILL) return killer::none;
    return oom_kills_.take() ? killer::oom_killer : killer::stranger;
}

std::uint64_t pool_core::oldest_unclaimed() {
    std::uint64_t oldest = next_position_;
    for (const task_record& record : records_) {
        if (!record.in_use || ring_->word(record.position).state() != ring::state::ready) continue;
        oldest = std::min(oldest, ring_->in_last_lap(record.position, next_position_));
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

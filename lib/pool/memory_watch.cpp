#include <csignal>

#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "process/memory_use.hpp"

// What workers hold, against `worker_memory_limit`. The monitor looks; a worker is killed for a
// task only if it still runs that task, and only for memory that can be that task's.

namespace prefork::detail {
namespace {

constexpr std::chrono::milliseconds interval{100};

}  // namespace

void pool_core::look_at_memory(base::time_point now) {
    if (options_.worker_memory_limit == 0 || now < next_memory_look_) return;
    next_memory_look_ = now + interval;
    for (process::worker_entry& each : roster_.all()) {
        // Of one that has ended the id may be another's.
        const bool lives = each.phase == process::phase::running && each.pidfd &&
                           !base::pidfd_ended(each.pidfd.get());
        if (lives) look_at_memory_of(each);
    }
}

void pool_core::look_at_memory_of(process::worker_entry& worker) {
    process::journal& notes = control_->journal_of(worker.seat);
    const std::uint64_t limit = options_.worker_memory_limit;
    const auto growth = [began_with = worker.began_with](std::uint64_t has) {
        return has > began_with ? has - began_with : 0;
    };
    // The run first: what is measured is its own if it still runs afterwards.
    std::uint64_t running = notes.running.load(std::memory_order_acquire);
    const ring::slot_word run{running};
    worker.memory = process::family_memory_at_most(worker.pid);
    if (growth(worker.memory) > limit) worker.memory = process::family_memory(worker.pid);
    if (growth(worker.memory) <= limit) return;
    if (run.bits() == 0) return end_between_tasks(worker);
    if (run.state() == ring::state::lost) return;  // condemned already
    // The time first: whatever holds us up here makes the run seem older, and never its children.
    const base::nanoseconds now = process::since_boot();
    const base::nanoseconds ran = scale_.since(notes.started.load(std::memory_order_relaxed));
    const std::uint64_t grown_by = growth(process::family_memory(worker.pid, now - ran));
    // What former tasks left running is not this one's, and ends with the worker.
    if (grown_by <= limit) return end_between_tasks(worker);
    if (!notes.running.compare_exchange_strong(running, run.with(ring::state::lost).bits(),
                                               std::memory_order_acq_rel)) {
        return;  // it has left that task
    }
    worker.grown_by = grown_by;
    kill_worker(worker, killer::memory_limit);
}

// One that is leaving, and holds too much all the same, runs no task any more.
void pool_core::end_between_tasks(process::worker_entry& worker) {
    const std::uint64_t turn =
        control_->journal_of(worker.seat).turn.load(std::memory_order_acquire);
    if (turn == process::has_left) return kill_worker(worker, killer::memory_limit);
    if (turn != process::turn_to_leave) ask_to_leave(worker);
}

}  // namespace prefork::detail

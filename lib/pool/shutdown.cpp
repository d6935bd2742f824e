#include <algorithm>

#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"

// Draining and the end, both bounded in time.

namespace prefork::detail {

void pool_core::drain() {
    if (inline_only_) return;
    host_mark_.require(options_.name);
    lock held{mutex_};
    for (std::size_t i = 0; i < records_.size(); ++i) {
        const task_record& record = records_[i];
        if (!record.in_use || record.quarantined) continue;
        const ticket task{record.position};
        held.unlock();
        static_cast<void>(wait(task, base::never));
        held.lock();
    }
}

bool pool_core::shutdown(std::chrono::nanoseconds bound) {
    const base::time_point deadline = deadline_in(bound);
    if (inline_only_) {
        closing_ = true;
        return true;
    }
    host_mark_.require(options_.name);
    lock held{mutex_};
    closing_ = true;
    bool all_ended = true;
    for (std::size_t i = 0; i < records_.size() && all_ended; ++i) {
        if (!records_[i].in_use || records_[i].quarantined) continue;
        const ticket task{records_[i].position};
        held.unlock();
        all_ended = wait(task, deadline);
        held.lock();
    }
    if (stopping_) return all_ended;
    end_all_tasks();
    stopping_ = true;
    control_->flags().closing.store(1, std::memory_order_seq_cst);
    for (const process::worker_entry& each : roster_.all()) ring_->beds().wake_seat(each.seat);
    held.unlock();
    wake_monitor();
    monitor_.join();
    wait_for_exits(all_ended ? std::max(deadline, base::monotonic::now() + peaceful_exit)
                             : base::monotonic::now() + peaceful_exit);
    held.lock();
    server_.reset();
    for (process::worker_entry& each : roster_.all()) {
        if (roster_.is_alive(each.seat)) worker_ended(each.seat, {});
    }
    pass_lines_on(held);
    return all_ended;
}

void pool_core::end_all_tasks() {
    const auto failure =
        std::make_exception_ptr(cancelled("pool '" + options_.name + "' was shut down"));
    for (task_record& record : records_) {
        if (record.in_use && !record.quarantined) {
            static_cast<void>(give_up(record, ring::state::cancelled, failure, killer::pool));
        }
    }
}

// Workers leave by themselves, with their exit hooks. One that is still in a task that was given up
// has its grace to end it; a hook that doesn't end is not waited for longer than `deadline`.
void pool_core::wait_for_exits(base::time_point deadline) {
    lock held{mutex_};
    while (server_ && !base::pidfd_ended(server_->pidfd())) {
        const base::time_point now = base::monotonic::now();
        base::time_point next = deadline;
        bool any = false;
        bool in_grace = false;
        for (process::worker_entry& each : roster_.all()) {
            if (!roster_.is_alive(each.seat)) continue;
            any = true;
            look_at_trace(each, now);
            if (each.kill_at <= now) finish_condemned(each);
            in_grace |= each.trace || each.kill_at != base::never;
            next = std::min(next, each.kill_at);
        }
        if (!any || (now >= deadline && !in_grace)) return;
        const bool more = pass_lines_on(held) || lines_are_there();
        next = std::min(std::max(next, now + std::chrono::milliseconds(1)), now + longest_sleep);
        held.unlock();
        static_cast<void>(sleep_until(more ? now : next));
        held.lock();
        while (auto message = server_->receive()) handle(std::move(*message));
    }
}

void pool_core::close(pool_core* core) noexcept {
    // The copy of a pool in a process that the user forked: the host's goes on, and a few kilobytes
    // of this process's memory are left to its end.
    if (!core->host_mark_.is_here()) return;
    try {
        core->shutdown(std::chrono::nanoseconds(0));
    } catch (...) {
        // What remains ends with the fork server, in the core's destructor.
    }
    core->run_last_callbacks();
    lock held{core->mutex_};
    for (task_record& each : core->records_) {
        each.attachments.clear();
        // Nobody will ask for these, and no submission sweeps them any more.
        if (each.in_use && each.abandoned) core->harvest(each, core->ring_->word(each.position));
    }
    core->orphaned_.store(true, std::memory_order_release);
    core->reference_dropped(held);
}

}  // namespace prefork::detail

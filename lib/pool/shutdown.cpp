#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "base/fail_point.hpp"
#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"

// Draining and the end, both bounded in time.

namespace prefork::detail {

void pool_core::drain() {
    require_host();
    lock held{mutex_};
    const inside here{*this};
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
    return end_by(deadline_in(bound), options_.grace);
}

// Workers have `exit_time` for their hooks after the deadline, or after the end of the last task.
bool pool_core::end_by(base::time_point deadline, std::chrono::nanoseconds exit_time) {
    require_host();
    lock held{mutex_};
    const inside here{*this};
    closing_ = true;
    if (inline_only_) return true;
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
    wake_room_waiters();
    stopping_ = true;
    base::fail_point::pass("shutdown.tasks_ended");
    control_->flags().closing.store(1, std::memory_order_seq_cst);
    for (const process::worker_entry& each : roster_.all()) ring_->beds().wake_seat(each.seat);
    held.unlock();
    end_monitor();
    wait_for_exits(base::deadline_after(std::max(deadline, base::monotonic::now()), exit_time));
    held.lock();
    base::fail_point::pass("shutdown.waited");
    const bool all_left = roster_.running() == 0;
    server_.reset();
    retired_.clear();
    for (process::worker_entry& each : roster_.all()) {
        if (roster_.is_alive(each.seat)) worker_ended(each.seat, {});
    }
    pass_lines_on(held);
    report_damage(held);
    return all_ended && all_left;
}

// `stopping_` is set.
void pool_core::end_monitor() noexcept {
    wake_monitor();
    monitor_.join();
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
        static_cast<void>(sleep_until(held, more ? now : next));
        while (auto message = server_->receive()) handle(std::move(*message));
        look_at_retired();
    }
}

void pool_core::close(pool_core* core) noexcept {
    if (core == nullptr) return;  // moved from
    // The copy of a pool in a process that the user forked: the host's goes on, and a few kilobytes
    // of this process's memory are left to its end.
    if (!core->host_mark_.is_here()) return;
    try {
        core->end_by(base::monotonic::now(),
                     std::max<std::chrono::nanoseconds>(peaceful_exit, core->options_.grace));
    } catch (...) {
        // What remains ends with the fork server, in the core's destructor.
    }
    core->run_last_callbacks();
    lock held{core->mutex_};
    // Threads that were in the middle of something: all that they wait for has just ended.
    while (const unsigned others = core->inside_.load()) {
        held.unlock();
        core->inside_.wait(others);
        held.lock();
    }
    // What end_by() did not come to: a thread that nobody joins would end the process.
    if (core->monitor_.joinable()) {
        core->stopping_ = true;
        held.unlock();
        core->end_monitor();
        held.lock();
    }
    for (kept_broadcast& each : core->broadcasts_) each.attachments.clear();
    for (task_record& each : core->records_) {
        // Nobody will ask for these, and no submission sweeps them any more; or their results may
        // name arrays, which go with the results.
        if (each.in_use && (each.abandoned || !each.attachments.empty()))
            core->harvest(each, core->ring_->word(each.position));
        each.attachments.clear();
    }
    core->orphaned_.store(true, std::memory_order_release);
    core->reference_dropped(held);
}

// ---- what is left of a pool

namespace {

// Cores of the last pools that ended: a mutex, a name, and that it is closed. exit() in one thread
// destroys static pools while others still use them; those find here that the pool is closed, where
// they would find freed memory. One object per process, in whose end nothing may be destroyed that
// such a thread still needs.
struct remains {
    std::mutex mutex;
    std::array<pool_core*, 16> cores{};
    std::size_t next = 0;
};

remains& remains_here() noexcept {
    static constinit remains all;
    return all;
}

// After all handlers of atexit() and destructors of static objects; at dlclose() too, where nobody
// else would free them. 101, the last: without a number it comes before the static objects there.
__attribute__((destructor(101))) void free_remains() {
    if (base::thread_count() > 1) return;
    for (pool_core*& each : remains_here().cores) delete std::exchange(each, nullptr);
}

}  // namespace

// All but what a late call looks at first. Nothing is destroyed with the lock held that may be the
// user's.
void pool_core::end(lock& held) noexcept {
    ended_ = true;
    pool_options name_only;
    name_only.name = std::move(options_.name);  // moved: a copy needs memory that may not be there
    const pool_options options = std::exchange(options_, std::move(name_only));
    const auto functions = std::exchange(functions_, std::nullopt);
    const auto tasks = std::exchange(records_, {});
    roster_ = {};
    server_.reset();
    retired_.clear();
    ring_.reset();
    arguments_.reset();
    budget_.reset();
    control_.reset();
    region_.reset();
    wake_fd_.reset();
    event_fd_.reset();
    deaths_.reset();
    held.unlock();
    pool_core* oldest = this;
    {
        remains& all = remains_here();
        const std::lock_guard one{all.mutex};
        std::swap(oldest, all.cores[all.next++ % all.cores.size()]);
    }
    delete oldest;
}

}  // namespace prefork::detail

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/futex.hpp"
#include "pool/core.hpp"

// Hearing of tasks that have ended without waiting for one: callbacks and coroutines by way of
// poll(), and the first of several. A task that somebody wants to hear of is *watched*: whoever
// ends it, a worker or the host, tells the event descriptor and the futex `completions`.

namespace prefork::detail {

void pool_core::signal_event() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(event_fd_.get(), &one, sizeof one));
}

// False when it has ended already, and nobody will tell.
bool pool_core::request_notice(ticket task) {
    if (is_ready(task)) return false;
    ring::slot_word word = ring_->word(task.position);
    while (!is_ready(task)) {
        if (word.watched() || ring_->change(task.position, word, word.with_watched(true))) {
            return true;
        }
    }
    return false;
}

void pool_core::watch(ticket task, std::function<void()> callback) {
    require_host_for(task);
    const lock held{mutex_};
    watches_.push_back({task, std::move(callback)});
    if (!request_notice(task)) signal_event();
    if (damage_.begin_looks()) wake_monitor();
}

bool pool_core::poll() {
    require_host();
    std::uint64_t drained = 0;
    // Before the look: what ends after it makes the descriptor readable again.
    static_cast<void>(!::read(event_fd_.get(), &drained, sizeof drained));
    std::vector<watched_task> due;
    lock held{mutex_};
    const auto waiting = std::stable_partition(
        watches_.begin(), watches_.end(), [this](const auto& each) { return is_ready(each.task); });
    std::move(watches_.begin(), waiting, std::back_inserter(due));
    watches_.erase(watches_.begin(), waiting);
    held.unlock();
    for (auto each = due.begin(); each != due.end(); ++each) {
        try {
            each->callback();
        } catch (...) {
            held.lock();
            watches_.insert(watches_.begin(), std::make_move_iterator(each + 1),
                            std::make_move_iterator(due.end()));
            signal_event();
            throw;
        }
    }
    held.lock();
    return all_ended();
}

// At the pool's end: every task has ended, and no poll() comes any more. A coroutine that was never
// resumed would be lost with all it holds.
void pool_core::run_last_callbacks() noexcept {
    for (;;) {
        lock held{mutex_};
        if (watches_.empty()) return;
        const std::vector<watched_task> last = std::exchange(watches_, {});
        held.unlock();
        for (const watched_task& each : last) {
            try {
                each.callback();
            } catch (...) {
                // There is nobody left to hear of it.
            }
        }
    }
}

bool pool_core::all_ended() {
    if (!watches_.empty()) return false;
    for (; ring::distance(oldest_unended_, next_position_) > 0; ++oldest_unended_) {
        const task_record& record = record_at(oldest_unended_);
        // Another position: this one was skipped, or its slot is free again.
        if (!record.in_use || record.position != oldest_unended_) continue;
        if (!is_ready({oldest_unended_})) return false;
    }
    return true;
}

std::optional<std::size_t> pool_core::wait_any(std::span<const pool_task> tasks,
                                               base::time_point deadline) {
    std::vector<base::futex_word> words;
    std::vector<pool_core*> cores;
    for (const auto& [core, task] : tasks) {
        core->require_host_for(task);
        if (core->is_ready(task)) continue;
        if (std::find(cores.begin(), cores.end(), core) == cores.end()) cores.push_back(core);
    }
    bool asked = false;
    for (;;) {
        words.clear();
        // The counts are read before the look: what ends after it changes one.
        for (pool_core* const each : cores) {
            auto& count = each->ring_->shared().completions;
            words.push_back({&count, count.load(std::memory_order_acquire)});
        }
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            const auto& [core, task] = tasks[i];
            if (core->is_ready(task) || (!asked && !core->request_notice(task))) return i;
        }
        asked = true;
        const base::time_point now = base::monotonic::now();
        if (now >= deadline) return std::nullopt;
        const base::time_point look = std::min(deadline, now + longest_sleep);
        base::futex_wait_any(words, look);
        if (base::monotonic::now() < look) continue;
        for (const auto& [core, task] : tasks) {
            if (!core->is_ready(task)) core->recall(task);
        }
    }
}

}  // namespace prefork::detail

#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <prefork/error.hpp>
#include <prefork/pool.hpp>
#include <stdexcept>
#include <vector>

#include "bench/support/other_process.hpp"
#include "bench/support/spin.hpp"

namespace prefork::bench {

/// A pool whose only worker is killed again and again while it runs a task. One at a time.
class worker_kill {
  public:
    using clock_type = std::chrono::steady_clock;

    /// Both since SIGKILL.
    struct times {
        clock_type::duration next_started;
        clock_type::duration loss_known;
    };

    /// The task that is killed holds `memory_bytes`. \throws std::runtime_error when it is not lost
    times once(std::size_t memory_bytes) {
        busy_->store(0, std::memory_order_relaxed);
        auto lost = pool_.submit(hold, memory_bytes);
        spin_until([] { return busy_->load(std::memory_order_acquire) != 0; });
        const auto start = clock_type::now();
        ::kill(busy_->load(std::memory_order_relaxed), SIGKILL);
        auto next = pool_.submit(now);
        lost.wait();
        const auto known = clock_type::now();
        const clock_type::time_point started{clock_type::duration{next.get()}};
        try {
            lost.get();
        } catch (const worker_lost&) {
            return {started - start, known - start};
        }
        throw std::runtime_error{"a task whose worker was killed has a result"};
    }

  private:
    // Every process of a machine has the same steady clock.
    static clock_type::rep now() { return clock_type::now().time_since_epoch().count(); }

    static void hold(std::size_t memory_bytes) {
        // Written to: memory that was only asked for costs the kernel nothing to take back.
        const std::vector<char> held(memory_bytes, 'x');
        __asm__ volatile("" : : "r"(held.data()) : "memory");
        busy_->store(::getpid(), std::memory_order_release);
        spin_until([] { return false; });
    }

    // In memory that was there before the fork, so that workers have it: who is to be killed.
    static inline std::atomic<int>* busy_ = nullptr;
    shared<std::atomic<int>> busy_here_;
    pool pool_{[this] {
        busy_ = &*busy_here_;
        return pool_options{.workers = 1};
    }()};
};

}  // namespace prefork::bench

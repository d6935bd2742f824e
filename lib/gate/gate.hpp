#pragma once

#include <atomic>

#include "base/clock.hpp"

// Open: tasks go to the workers. Shut: the machine is busy, and the caller does the work itself,
// sequentially, which adds no load. Strictly above the limit it is shut, at the limit it is open.
//
// A shut gate never means that nothing is done, so there is no exception for an idle pool as build
// tools have it ("at least one job when nothing runs"): what is shut out runs at once, in the
// caller.

namespace prefork::gate {

/// Now: reads the load. An unknown load shuts nothing.
[[nodiscard]] bool is_open(double max_load_per_cpu, unsigned usable_cpus);

/// The same, sampled by the monitor, so that asking is one load from memory.
class gate {
  public:
    gate(double max_load_per_cpu, unsigned usable_cpus) noexcept
        : limit_(max_load_per_cpu), cpus_(usable_cpus), open_(is_open(limit_, cpus_)) {}

    /// Relaxed: an answer about a one-minute average may be a moment old.
    [[nodiscard]] bool open() const noexcept { return open_.load(std::memory_order_relaxed); }
    /// By one thread; looks at most once a second, as the kernel renews the load every 5 s only.
    void sample(base::time_point now);

  private:
    double limit_;
    unsigned cpus_;
    std::atomic<bool> open_;
    base::time_point next_{};
};

}  // namespace prefork::gate

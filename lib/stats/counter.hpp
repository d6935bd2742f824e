#pragma once

#include <atomic>
#include <cstdint>

// What one worker counts of its own tasks, in ticks. One writer; the host reads at any time and may
// see a sum that its count doesn't have yet. Numbers from a worker are believed for what they are:
// statistics.

namespace prefork::stats {

struct counter {
    std::atomic<std::uint64_t> count;
    std::atomic<std::uint64_t> failures;  ///< of `count`, those that ended without a value
    std::atomic<std::uint64_t> run_sum;
    std::atomic<std::uint64_t> run_min;
    std::atomic<std::uint64_t> run_max;
    std::atomic<std::uint64_t> queue_sum;
    std::atomic<std::uint64_t> queue_min;
    std::atomic<std::uint64_t> queue_max;

    /// By the writer: a task that waited and ran for so many ticks.
    void note(std::uint64_t queued, std::uint64_t run, bool failed = false) noexcept;
    /// By the writer: the task of the last note() was not its own to end after all. The extremes
    /// stay as they are: it did run for so long.
    void take_back(std::uint64_t queued, std::uint64_t run, bool failed) noexcept;
    void reset() noexcept;
};

/// A counter's values at one moment, or the sum of several.
struct sums {
    std::uint64_t count = 0;
    std::uint64_t failures = 0;
    std::uint64_t run_sum = 0;
    std::uint64_t run_min = ~std::uint64_t{0};
    std::uint64_t run_max = 0;
    std::uint64_t queue_sum = 0;
    std::uint64_t queue_min = ~std::uint64_t{0};
    std::uint64_t queue_max = 0;

    [[nodiscard]] static sums of(const counter& from) noexcept;
    sums& operator+=(const sums& other) noexcept;
};

}  // namespace prefork::stats

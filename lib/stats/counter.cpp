#include "stats/counter.hpp"

#include <algorithm>

namespace prefork::stats {
namespace {

// One writer: a load and a store are enough, and cheaper than a locked add.
void add(std::atomic<std::uint64_t>& to, std::uint64_t value) noexcept {
    to.store(to.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

void widen(std::atomic<std::uint64_t>& low, std::atomic<std::uint64_t>& high, std::uint64_t value,
           bool first) noexcept {
    if (first || value < low.load(std::memory_order_relaxed)) {
        low.store(value, std::memory_order_relaxed);
    }
    if (value > high.load(std::memory_order_relaxed)) high.store(value, std::memory_order_relaxed);
}

}  // namespace

void counter::note(std::uint64_t queued, std::uint64_t run, bool failed) noexcept {
    const bool first = count.load(std::memory_order_relaxed) == 0;
    add(run_sum, run);
    add(queue_sum, queued);
    widen(run_min, run_max, run, first);
    widen(queue_min, queue_max, queued, first);
    if (failed) add(failures, 1);
    add(count, 1);
}

void counter::take_back(std::uint64_t queued, std::uint64_t run, bool failed) noexcept {
    const auto less = [](std::atomic<std::uint64_t>& from, std::uint64_t value) {
        from.store(from.load(std::memory_order_relaxed) - value, std::memory_order_relaxed);
    };
    less(count, 1);
    if (failed) less(failures, 1);
    less(run_sum, run);
    less(queue_sum, queued);
}

void counter::reset() noexcept {
    for (auto* each :
         {&count, &failures, &run_sum, &run_min, &run_max, &queue_sum, &queue_min, &queue_max}) {
        each->store(0, std::memory_order_relaxed);
    }
}

sums sums::of(const counter& from) noexcept {
    sums now;
    now.count = from.count.load(std::memory_order_relaxed);
    if (now.count == 0) return now;
    // A wild worker may claim more failures than tasks.
    now.failures = std::min(now.count, from.failures.load(std::memory_order_relaxed));
    now.run_sum = from.run_sum.load(std::memory_order_relaxed);
    now.run_min = from.run_min.load(std::memory_order_relaxed);
    now.run_max = from.run_max.load(std::memory_order_relaxed);
    now.queue_sum = from.queue_sum.load(std::memory_order_relaxed);
    now.queue_min = from.queue_min.load(std::memory_order_relaxed);
    now.queue_max = from.queue_max.load(std::memory_order_relaxed);
    return now;
}

sums& sums::operator+=(const sums& other) noexcept {
    count += other.count;
    failures += other.failures;
    run_sum += other.run_sum;
    run_min = std::min(run_min, other.run_min);
    run_max = std::max(run_max, other.run_max);
    queue_sum += other.queue_sum;
    queue_min = std::min(queue_min, other.queue_min);
    queue_max = std::max(queue_max, other.queue_max);
    return *this;
}

}  // namespace prefork::stats

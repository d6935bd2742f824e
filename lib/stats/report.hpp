#pragma once

#include <chrono>

#include "prefork/stats.hpp"
#include "stats/counter.hpp"

namespace prefork::stats {

/// Sums over workers, those that are gone included. Guarded by its owner's lock.
class report {
  public:
    /// A worker is dead: its counts are kept.
    void retire(const counter& of) noexcept { gone_ += sums::of(of); }
    [[nodiscard]] const sums& gone() const noexcept { return gone_; }

  private:
    sums gone_;
};

/// {min, mean, max} of `count` durations in ticks; zeros for none.
[[nodiscard]] duration_stats durations(std::uint64_t count, std::uint64_t sum, std::uint64_t min,
                                       std::uint64_t max, double ns_per_tick) noexcept;
/// The part of `life` that `ticks` are, 0 to 1.
[[nodiscard]] double busy_fraction(std::uint64_t ticks, double ns_per_tick,
                                   std::chrono::nanoseconds life) noexcept;

}  // namespace prefork::stats

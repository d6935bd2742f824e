#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace prefork::base {

/// CLOCK_MONOTONIC, the same in every process of the machine; a vDSO call, about 20 ns.
using monotonic = std::chrono::steady_clock;
using time_point = monotonic::time_point;
using std::chrono::nanoseconds;

inline constexpr time_point never = time_point::max();

[[nodiscard]] inline std::int64_t now_ns() noexcept {
    return std::chrono::duration_cast<nanoseconds>(monotonic::now().time_since_epoch()).count();
}

/// `from + delta`, saturating at `never`, so that "wait for ever" expressed as a huge duration does
/// not overflow into the past.
template <class Rep, class Period>
[[nodiscard]] time_point deadline_after(time_point from, std::chrono::duration<Rep, Period> delta) {
    // hours::max() doesn't fit into nanoseconds, which is what comparing it with them would need.
    const std::chrono::duration<long double, std::nano> wanted = delta;
    if (wanted >= never - from) return never;
    return from + std::chrono::duration_cast<monotonic::duration>(delta);
}

}  // namespace prefork::base

#pragma once

#include <cstdint>

#include "base/clock.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace prefork::base {

/// Whether the time-stamp counter runs at one rate on all CPUs and in all sleep states (CPUID
/// 0x80000007, EDX bit 8; AMD64 Architecture Programmer's Manual vol. 3, E.4.7).
[[nodiscard]] inline bool has_invariant_counter() noexcept {
#if defined(__x86_64__)
    static const bool has = [] {
        unsigned a = 0;
        unsigned b = 0;
        unsigned c = 0;
        unsigned d = 0;
        return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;
    }();
    return has;
#else
    return false;
#endif
}

/// A cheap monotonic clock, the same in every process of the machine: about 10 ns where the counter
/// is invariant, else CLOCK_MONOTONIC in ns.
[[nodiscard]] inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
    if (has_invariant_counter()) return __rdtsc();
#endif
    return static_cast<std::uint64_t>(now_ns());
}

/// Ticks from `then` to now; 0 when another CPU's counter, or a foreign word, says that it is yet
/// to come: counters of several CPUs differ by some.
[[nodiscard]] inline std::uint64_t ticks_since(std::uint64_t then) noexcept {
    const std::uint64_t now = ticks();
    return now > then ? now - then : 0;
}

/// What a tick is in time, from the longest baseline there is: this object's life.
class tick_scale {
  public:
    tick_scale() noexcept : ticks_(ticks()), ns_(now_ns()) {}

    [[nodiscard]] double ns_per_tick() const noexcept {
        if (!has_invariant_counter()) return 1.0;
        const std::uint64_t passed = ticks_since(ticks_);
        return passed == 0 ? 1.0
                           : static_cast<double>(now_ns() - ns_) / static_cast<double>(passed);
    }

    /// How long `then` is ago: nothing when it is yet to come, at most a year.
    [[nodiscard]] nanoseconds since(std::uint64_t then) const noexcept {
        constexpr nanoseconds most = std::chrono::hours(24 * 365);
        const double passed = static_cast<double>(ticks_since(then)) * ns_per_tick();
        return passed < static_cast<double>(most.count())
                   ? nanoseconds{static_cast<std::int64_t>(passed)}
                   : most;
    }

  private:
    std::uint64_t ticks_;
    std::int64_t ns_;
};

}  // namespace prefork::base

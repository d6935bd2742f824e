#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace prefork::bench {

/// A task of a known answer that keeps a CPU busy: a chain of which each step needs the one before.
/// Not inlined, so that no caller's compiler makes less of it than another's.
[[gnu::noinline]] inline std::uint32_t work(std::uint32_t seed, std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps; ++i) seed = seed * 1664525U + 1013904223U;
    return seed;
}

/// Of one step, undisturbed: the shortest of many measurements.
[[nodiscard]] inline double nanoseconds_a_step() {
    constexpr std::uint64_t steps = 100'000;
    auto shortest = std::chrono::steady_clock::duration::max();
    std::uint32_t seed = 1;
    for (int attempt = 0; attempt < 100; ++attempt) {
        const auto start = std::chrono::steady_clock::now();
        seed = work(seed, steps);
        shortest = std::min(shortest, std::chrono::steady_clock::now() - start);
    }
    // Its use: without one the compiler may leave the work out.
    __asm__ volatile("" : : "r"(seed));
    return std::chrono::duration<double, std::nano>(shortest).count() / steps;
}

/// How many steps take this long, on this machine and today.
[[nodiscard]] inline std::uint64_t steps_for(std::chrono::nanoseconds duration) {
    static const double one = nanoseconds_a_step();
    return static_cast<std::uint64_t>(static_cast<double>(duration.count()) / one);
}

}  // namespace prefork::bench

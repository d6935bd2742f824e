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

/// Nanoseconds of a task of so many steps among others like it, which a processor overlaps a
/// little; undisturbed: the shortest of some measurements.
[[nodiscard]] inline double nanoseconds_of(std::uint64_t steps) {
    const std::uint64_t tasks = 20'000 / (steps + 1) + 1;
    auto shortest = std::chrono::steady_clock::duration::max();
    std::uint32_t sum = 0;
    for (int attempt = 0; attempt < 10; ++attempt) {
        const auto start = std::chrono::steady_clock::now();
        for (std::uint32_t i = 0; i < tasks; ++i) sum += work(i, steps);
        shortest = std::min(shortest, std::chrono::steady_clock::now() - start);
    }
    // Its use: without one the compiler may leave the work out.
    __asm__ volatile("" : : "r"(sum));
    return std::chrono::duration<double, std::nano>(shortest).count() / static_cast<double>(tasks);
}

/// How many steps take this long, on this machine and today.
[[nodiscard]] inline std::uint64_t steps_for(std::chrono::nanoseconds duration) {
    const auto wanted = static_cast<double>(duration.count());
    double steps = wanted;  // about one a nanosecond
    for (int attempt = 0; attempt < 5; ++attempt) {
        steps *= wanted / nanoseconds_of(static_cast<std::uint64_t>(steps));
    }
    return static_cast<std::uint64_t>(steps);
}

}  // namespace prefork::bench

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "support/sanitizer.hpp"

namespace prefork::test {

/// All of it, by `tools/test --exhaustive`; else a sample.
[[nodiscard]] inline bool exhaustive() { return std::getenv("PREFORK_EXHAUSTIVE") != nullptr; }

/// After how many instructions of a way of `length` to kill, from none to all: each, or a sample
/// spread over it, another one in each run. PREFORK_SEED repeats a run.
[[nodiscard]] inline std::vector<std::size_t> steps_to_try(std::size_t length, std::size_t sample) {
    std::vector<std::size_t> steps(length + 1);
    std::iota(steps.begin(), steps.end(), std::size_t{0});
    // A sanitizer makes each way some ten times as long.
    if (sanitized()) sample = (sample + 3) / 4;
    if (exhaustive() || length <= sample) return steps;
    static const unsigned seed = [] {
        const char* const given = std::getenv("PREFORK_SEED");
        const unsigned chosen = given != nullptr
                                    ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                    : std::random_device{}();
        std::printf("PREFORK_SEED=%u\n", chosen);
        return chosen;
    }();
    static std::minstd_rand random{seed};
    for (std::size_t i = 0; i < sample; ++i) {
        // One in each of as many equal parts of the way.
        const std::size_t from = steps.size() * i / sample;
        const std::size_t to = steps.size() * (i + 1) / sample;
        steps[i] = std::uniform_int_distribution<std::size_t>{from, to - 1}(random);
    }
    steps.resize(sample);
    return steps;
}

}  // namespace prefork::test

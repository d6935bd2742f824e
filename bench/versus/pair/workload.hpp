#pragma once

#include <chrono>
#include <cstdint>
#include <utility>

#include "bench/support/idle.hpp"
#include "bench/support/work.hpp"
#include "bench/versus/support/turn.hpp"

// Two tasks of some microseconds (steps), started after a pause (idle_ns=1000000), until both
// results are there: the smallest job that could be done in half the time.

namespace prefork::versus {

using two = std::pair<std::uint32_t, std::uint32_t>;

/// One of the two.
inline std::uint32_t task(std::uint32_t number, std::uint64_t steps) {
    return bench::work(number, steps);
}

/// `both(first, second, steps)` returns the results of the two tasks.
template <class Both>
int measure(int argc, char** argv, Both both) {
    turn mine{argc, argv};
    const std::chrono::nanoseconds idle{mine.get("idle_ns", 1'000'000)};
    const std::uint64_t steps = mine.get("steps", 0);
    constexpr std::uint32_t first = 1;
    constexpr std::uint32_t second = 2;
    const two expected{task(first, steps), task(second, steps)};
    const auto once = [&] {
        bench::be_idle(idle);
        two found;
        const double took = timed([&] { found = both(first, second, steps); });
        if (found != expected) wrong_answer("not the results of the two tasks");
        return took;
    };
    for (int warm_up = 0; warm_up < 3; ++warm_up) once();
    return mine.run(once);
}

}  // namespace prefork::versus

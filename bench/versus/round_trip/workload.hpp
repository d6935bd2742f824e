#pragma once

#include <chrono>
#include <cstdint>

#include "bench/support/idle.hpp"
#include "bench/versus/support/turn.hpp"

// A task that does nothing, handed over, run by another thread or process, and its result back. Hot
// (idle_ns=0): the mean of a batch, so that reading the clock does not show. After a pause
// (idle_ns=1000000): each by itself.

namespace prefork::versus {

/// What the other one does.
inline int task(int number) { return number + 1; }

inline void check(int number, int answer) {
    if (answer != number + 1) wrong_answer("a task's result is not its own");
}

/// `round_trip(number)` is task(number), by another thread or process.
template <class RoundTrip>
int measure(int argc, char** argv, RoundTrip round_trip) {
    turn mine{argc, argv};
    const std::chrono::nanoseconds idle{mine.get("idle_ns", 0)};
    int number = 0;
    const auto once = [&] {
        check(number, round_trip(number));
        ++number;
    };
    if (idle.count() == 0) return mine.run_batches(once);
    for (int warm_up = 0; warm_up < 10; ++warm_up) once();
    return mine.run([&] {
        bench::be_idle(idle);
        return timed(once);
    });
}

}  // namespace prefork::versus

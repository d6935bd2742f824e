#pragma once

#include <chrono>
#include <thread>

#include "bench/support/spin.hpp"

namespace prefork::bench {

/// The caller has nothing for the workers for this long. It sleeps, as a service does that waits
/// for its next request; below 100 µs, where a sleep would take longer than asked, it is busy
/// elsewhere.
inline void be_idle(std::chrono::nanoseconds duration) {
    using namespace std::chrono_literals;
    if (duration >= 100us) return std::this_thread::sleep_for(duration);
    const auto end = std::chrono::steady_clock::now() + duration;
    spin_until([&] { return std::chrono::steady_clock::now() >= end; });
}

}  // namespace prefork::bench

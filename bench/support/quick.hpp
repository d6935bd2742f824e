#pragma once

#include <cstdlib>

namespace prefork::bench {

/// `tools/bench --quick`: does it run at all? What takes its time by itself, whatever Google
/// Benchmark is told, is to take less then.
[[nodiscard]] inline bool quick() { return std::getenv("PREFORK_BENCH_QUICK") != nullptr; }

template <class T>
[[nodiscard]] T unless_quick(T full, T little) {
    return quick() ? little : full;
}

}  // namespace prefork::bench

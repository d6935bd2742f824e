#pragma once

#include <chrono>
#include <thread>

namespace prefork::test {

/// Waits until `condition()` holds; false if it does not within `bound`. Tests never sleep for a
/// guess: they wait for the thing itself, and a bound makes a hang a failure.
template <class Condition>
[[nodiscard]] bool until(Condition condition,
                         std::chrono::milliseconds bound = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + bound;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

}  // namespace prefork::test

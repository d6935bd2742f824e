#pragma once

#include <cstdint>
#include <span>

#include "base/clock.hpp"

namespace prefork::base {

enum class futex_result {
    woken,      ///< a wake, or a spurious return: look at the word again
    changed,    ///< the word did not hold the expected value: nothing was waited for
    timed_out,  ///< the time-out passed
};

/// Sleeps while the 32 bits at `word` hold `expected`, at most until `deadline` (`never`: no
/// bound). The word may lie in memory shared between processes. A full barrier orders the kernel's
/// look at the word.
futex_result futex_wait(const void* word, std::uint32_t expected, time_point deadline) noexcept;

struct futex_word {
    const void* word;
    std::uint32_t expected;
};

/// As futex_wait(), on at most 128 words at once: futex_waitv of Linux 5.16. On an older kernel, at
/// most 1 ms on the first, so look at all of them again.
futex_result futex_wait_any(std::span<const futex_word> words, time_point deadline) noexcept;

inline constexpr int every_waiter = 1 << 20;

/// Wakes at most `count` waiters of every process; returns how many were woken.
int futex_wake(const void* word, int count) noexcept;

}  // namespace prefork::base

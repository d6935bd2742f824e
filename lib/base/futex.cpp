#include "base/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace prefork::base {

futex_result futex_wait(const void* word, std::uint32_t expected, time_point deadline) noexcept {
    timespec until{};
    if (deadline != never) {
        const auto since_boot =
            std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch()).count();
        until.tv_sec = static_cast<time_t>(since_boot / 1'000'000'000);
        until.tv_nsec = static_cast<long>(since_boot % 1'000'000'000);
    }
    // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time; plain FUTEX_WAIT a relative one.
    const long r = ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                             deadline == never ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
    if (r == 0 || errno == EINTR) return futex_result::woken;
    return errno == ETIMEDOUT ? futex_result::timed_out : futex_result::changed;
}

int futex_wake(const void* word, int count) noexcept {
    return static_cast<int>(::syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

}  // namespace prefork::base

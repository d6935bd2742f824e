#include "base/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace prefork::base {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

namespace {
void* address_of(const std::atomic<std::uint32_t>& word) noexcept {
    return const_cast<std::atomic<std::uint32_t>*>(&word);
}
}  // namespace

futex_result futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                        time_point deadline) noexcept {
    timespec until{};
    if (deadline != never) {
        const auto since_boot =
            std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch()).count();
        until.tv_sec = static_cast<time_t>(since_boot / 1'000'000'000);
        until.tv_nsec = static_cast<long>(since_boot % 1'000'000'000);
    }
    // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time; plain FUTEX_WAIT a relative one.
    const long r = ::syscall(SYS_futex, address_of(word), FUTEX_WAIT_BITSET, expected,
                             deadline == never ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
    if (r == 0 || errno == EINTR) return futex_result::woken;
    return errno == ETIMEDOUT ? futex_result::timed_out : futex_result::changed;
}

int futex_wake(const std::atomic<std::uint32_t>& word, int count) noexcept {
    return static_cast<int>(
        ::syscall(SYS_futex, address_of(word), FUTEX_WAKE, count, nullptr, nullptr, 0));
}

}  // namespace prefork::base

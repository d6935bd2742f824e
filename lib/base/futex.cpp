#include "base/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "base/fail_point.hpp"

namespace prefork::base {

namespace {

timespec on_monotonic_clock(time_point deadline) noexcept {
    if (deadline == never) return {};
    const auto since_boot =
        std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch()).count();
    return {static_cast<time_t>(since_boot / 1'000'000'000),
            static_cast<long>(since_boot % 1'000'000'000)};
}

// <linux/futex.h> of Linux 5.16, for older headers.
struct waitv_entry {
    std::uint64_t value;
    std::uint64_t address;
    std::uint32_t flags;
    std::uint32_t reserved;
};
constexpr std::uint32_t size_32_bits = 2;
constexpr long sys_futex_waitv = 449;
constexpr std::size_t most_words = 128;

}  // namespace

futex_result futex_wait(const void* word, std::uint32_t expected, time_point deadline) noexcept {
    const timespec until = on_monotonic_clock(deadline);
    // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time; plain FUTEX_WAIT a relative one.
    const long r =
        fail_point::refused("futex.wait")
            ? -1
            : ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                        deadline == never ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
    if (r == 0 || errno == EINTR) return futex_result::woken;
    return errno == ETIMEDOUT ? futex_result::timed_out : futex_result::changed;
}

futex_result futex_wait_any(std::span<const futex_word> words, time_point deadline) noexcept {
    std::array<waitv_entry, most_words> entries{};
    const std::size_t count = std::min(words.size(), most_words);
    for (std::size_t i = 0; i < count; ++i) {
        entries[i] = {words[i].expected, reinterpret_cast<std::uint64_t>(words[i].word),
                      size_32_bits, 0};
    }
    const timespec until = on_monotonic_clock(deadline);
    const long r = fail_point::refused("futex.waitv")
                       ? -1
                       : ::syscall(sys_futex_waitv, entries.data(), count, 0,
                                   deadline == never ? nullptr : &until, CLOCK_MONOTONIC);
    if (r >= 0) return futex_result::woken;
    // Refused by a sandbox (EPERM), unknown to the kernel, or more words than it takes.
    if (errno == ENOSYS || errno == EPERM || words.size() > most_words) {
        return futex_wait(words[0].word, words[0].expected,
                          std::min(deadline, monotonic::now() + std::chrono::milliseconds(1)));
    }
    if (errno == EINTR) return futex_result::woken;
    return errno == ETIMEDOUT ? futex_result::timed_out : futex_result::changed;
}

int futex_wake(const void* word, int count) noexcept {
    fail_point::pass("futex.wake");
    return static_cast<int>(::syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

}  // namespace prefork::base

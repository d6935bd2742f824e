#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/clock.hpp"

namespace prefork::process {

/// Bytes of memory that only this process has: resident minus shared, of /proc/PID/statm. Pages
/// that it still shares with its parent since the fork count too, so only growth means anything. 0
/// when the process is gone.
[[nodiscard]] std::uint64_t private_memory(pid_t pid);

/// With what it forked, and what those forked: a task can't hide memory in children. Eight
/// generations deep; children of other threads than the main one are not seen (their own
/// RLIMIT_DATA bounds each). Of children only the pages that they share with nobody; the kernel
/// walks through their page tables, some 10 ms a GiB.
///
/// Of its children only with those that were forked since this time after boot: what a task forked
/// that began then. The kernel tells starts to 10 ms, and who is in doubt counts.
[[nodiscard]] std::uint64_t family_memory(pid_t pid, base::nanoseconds since = {});
/// The same for less: not less than that, but what a child shares counts once more.
[[nodiscard]] std::uint64_t family_memory_at_most(pid_t pid);
[[nodiscard]] base::nanoseconds since_boot() noexcept;

/// Bytes that were resident at most, shared ones included; 0 when the process is gone.
[[nodiscard]] std::uint64_t peak_memory(pid_t pid);

}  // namespace prefork::process

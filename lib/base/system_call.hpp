#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

// Each kernel call that needs more than its C wrapper: those that glibc 2.36 lacks, those that need
// a retry or a fallback, and the one way in which a failure becomes an exception.

namespace prefork::base {

/// Throws std::system_error for `error` (an errno value) whose text begins with `what`.
[[noreturn]] void throw_system_error(int error, std::string what);

/// `value` if it is not -1; else throws std::system_error with errno and `what`.
template <class Int>
Int checked(Int value, const char* what);

/// Owns `fd`, moved above 2 if need be: a host that has closed its standard streams would print
/// into it. Of -1, or where there is no other number, -1 and errno.
[[nodiscard]] unique_fd above_standard_streams(int fd) noexcept;

[[nodiscard]] unique_fd memfd_create(const char* name, unsigned flags);  // Linux 3.17
[[nodiscard]] unique_fd pidfd_open(pid_t pid);                           // Linux 5.3
/// False when the process is gone already. Never hits a process that reused the id.
bool pidfd_send_signal(int pidfd, int signal) noexcept;  // Linux 5.1
/// True once the process behind `pidfd` has ended (readable: zombie or reaped).
[[nodiscard]] bool pidfd_ended(int pidfd, nanoseconds wait = nanoseconds::zero()) noexcept;

/// close_range (Linux 5.9), or /proc/self/fd, or every number up to the limit: whichever the kernel
/// has. Closes [first, last]; never fails. No allocation: usable between fork and exec.
void close_range(unsigned first, unsigned last) noexcept;

/// The whole of a small file, "" when it cannot be read: /proc and /sys answer in one go.
[[nodiscard]] std::string read_small_file(const std::string& path);

/// Writes all bytes, retrying on EINTR and short writes; false on any other error.
bool write_all(int fd, const void* bytes, std::size_t size) noexcept;

/// poll(2) for one descriptor being readable; restarts on EINTR. False at the deadline.
[[nodiscard]] bool wait_readable(int fd, time_point deadline) noexcept;

/// Whether /proc is there and its numbers are those of our PID namespace: who makes one and mounts
/// no /proc in it sees that of another, where a process id names somebody else.
[[nodiscard]] bool proc_is_ours() noexcept;

/// Threads of this process from /proc/self/task; 0 when /proc is not there to ask.
[[nodiscard]] unsigned thread_count() noexcept;
/// What the threads but the calling one are called, by age; from /proc/self/task.
[[nodiscard]] std::vector<std::string> names_of_other_threads();

template <class Int>
Int checked(Int value, const char* what) {
    if (value == Int(-1)) throw_system_error(errno, what);
    return value;
}

}  // namespace prefork::base

#pragma once

#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "process/crash_record.hpp"
#include "process/loaded_object.hpp"
#include "ring/slot_word.hpp"

// The evidence of a crash: taken in the worker by a signal handler, read in the host.

namespace prefork::process {

/// In a worker, before user code: from now on SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP and
/// SIGSYS are noted in `record`, with a stack trace, and then kill with their default action, so
/// that the wait status is the true one. Runs on a stack of its own: a stack overflow is told too,
/// in the thread that calls this. A trace that crashes or hangs itself is given up within a second.
///
/// On `trace_signal` the frames of the run in `running` (a journal word; 0: none) are noted, and
/// the task goes on.
///
/// Once a process; both must stay mapped. Handlers that the user installs later win.
void watch_crashes(crash_record& record, const std::atomic<std::uint64_t>& running) noexcept;

/// Ignored by default, and sent by nobody but sockets with an owner (fcntl(2), F_SETOWN).
inline constexpr int trace_signal = SIGURG;

/// A private copy of a record, checked.
struct crash {
    int signal = 0;
    int code = 0;
    pid_t sender = 0;  ///< 0, or the process that sent the signal
    std::uint64_t address = 0;
    std::uint64_t ended = 0;   ///< in ticks; 0: not told
    std::uint64_t memory = 0;  ///< private bytes
    std::vector<std::uint64_t> frames;
    /// What the frames lie in: a library may be closed before somebody reads the trace.
    std::vector<loaded_object> objects;
};

/// In the host, after the worker `pid` is dead. Nothing if that one left no record.
[[nodiscard]] std::optional<crash> read_crash(const crash_record& record, pid_t pid);

/// In the host, after a `trace_signal`: the trace of the run `run`, once it is there.
[[nodiscard]] std::optional<crash> read_trace(const crash_record& record, ring::slot_word run);

/// The stack trace, a line a frame, innermost first:
/// "parse(char const*) +0x1f at /src/parse.cpp:14 (/bin/program +0x11d9)", and
/// "skip(char const*) at /src/skip.hpp:7 (inlined)" for what the compiler has put into the next
/// one. It ends with the task: how the library and std::invoke() called it is left out. Workers are
/// forks, so addresses mean the same here. Reads symbol tables and debug information: milliseconds,
/// so no lock is to be held. Threads: any.
[[nodiscard]] std::string symbolise(const crash& what);

/// One phrase for how a worker ended: "SIGSEGV at 0x10", "SIGKILL", "exit status 3". `code` and
/// `status` as in siginfo_t; `left` if it left a record.
[[nodiscard]] std::string describe_end(int code, int status, const std::optional<crash>& left);

/// " in parse(char const*), parse.cpp:14", to come after that: the innermost function that is not
/// the C or C++ library's. Cost and threads: as symbolise().
[[nodiscard]] std::string describe_place(const crash& what);

}  // namespace prefork::process

#pragma once

#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "process/crash_record.hpp"
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
    std::vector<std::uint64_t> frames;
};

/// In the host, after the worker `pid` is dead. Nothing if that one left no record.
[[nodiscard]] std::optional<crash> read_crash(const crash_record& record, pid_t pid);

/// In the host, after a `trace_signal`: the trace of the run `run`, once it is there.
[[nodiscard]] std::optional<crash> read_trace(const crash_record& record, ring::slot_word run);

/// The stack trace, a line a frame, innermost first: "parse(char const*) +0x1f (program +0x11d9)".
/// It ends where the library called the task. Workers are forks, so addresses mean the same here.
/// Reads the symbol tables of the files that frames lie in: milliseconds.
[[nodiscard]] std::string symbolise(const crash& what);

/// One phrase for how a worker ended: "SIGSEGV at 0x10 in parse(char const*)", "SIGKILL", "exit
/// status 3". `code` and `status` as in siginfo_t; `left` if it left a record. The function is the
/// innermost that is not the C or C++ library's.
[[nodiscard]] std::string describe_end(int code, int status, const std::optional<crash>& left);

}  // namespace prefork::process

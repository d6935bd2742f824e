#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "process/crash_record.hpp"

// The evidence of a crash: taken in the worker by a signal handler, read in the host.

namespace prefork::process {

/// In a worker, before user code: from now on SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP and
/// SIGSYS are noted in `record`, with a stack trace, and then kill with their default action, so
/// that the wait status is the true one. Runs on a stack of its own: a stack overflow is told too,
/// in the thread that calls this. A trace that crashes or hangs itself is given up within a second.
///
/// To get a trace of a worker that hangs, send it SIGABRT.
///
/// Once a process; `record` must stay mapped. Handlers that the user installs later win.
void watch_crashes(crash_record& record) noexcept;

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

/// The stack trace, a line a frame, innermost first: "parse(char const*) +0x1f (program +0x11d9)".
/// Workers are forks, so addresses mean the same here. Reads the symbol tables of the files that
/// frames lie in: milliseconds.
[[nodiscard]] std::string symbolise(const crash& what);

/// One phrase for how a worker ended: "SIGSEGV at 0x10 in parse(char const*)", "SIGKILL", "exit
/// status 3". `code` and `status` as in siginfo_t; `left` if it left a record. The function is the
/// innermost that is not the C or C++ library's.
[[nodiscard]] std::string describe_end(int code, int status, const std::optional<crash>& left);

}  // namespace prefork::process

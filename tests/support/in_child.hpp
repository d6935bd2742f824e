#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "base/signal_mask.hpp"
#include "base/system_call.hpp"

namespace prefork::test {

/// How a child ended: by `_exit(status)`, or by `signal` when that is not 0.
struct child_end {
    int status = 0;
    int signal = 0;

    bool operator==(const child_end&) const = default;
};

/// A child that runs `body()` and exits with what it returns, 99 if it throws. Signals have their
/// default effect in it, whatever the test program or a sanitizer made of them.
template <class Body>
[[nodiscard]] pid_t fork_child(Body body) {
    const pid_t pid = base::checked(::fork(), "fork");
    if (pid != 0) return pid;
    base::reset_signals_in_child();
    int status = 99;
    try {
        status = body();
    } catch (...) {
        status = 99;
    }
    ::_exit(status);
}

/// Waits for the child's end; kills it when that takes more than `bound`, which the result shows.
[[nodiscard]] inline child_end wait_for_child(
    pid_t pid, std::chrono::seconds bound = std::chrono::seconds(20)) {
    const base::unique_fd pidfd = base::pidfd_open(pid);
    if (!base::pidfd_ended(pidfd.get(), bound)) ::kill(pid, SIGKILL);
    siginfo_t end{};
    ::waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED);
    if (end.si_code == CLD_EXITED) return {end.si_status, 0};
    return {0, end.si_status};
}

template <class Body>
[[nodiscard]] child_end in_child(Body body) {
    return wait_for_child(fork_child(std::move(body)));
}

}  // namespace prefork::test

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "process/fork_protocol.hpp"

namespace prefork::process {

struct worker_start {
    unsigned seat;   ///< its place in shared memory: another one for each new process
    unsigned index;  ///< its number among the workers: a replacement inherits it
    pid_t server;    ///< who must be its parent
    int report_fd;   ///< where it says started or start_failed; closed by the report
};

struct fork_server_options {
    std::string name;  ///< shown by ps: "<name>-server"
    /// Kept open beside 0, 1, 2; all others are closed. What isn't open is ignored.
    std::vector<int> keep_fds;
    /// In the new server, before it forks anything: CPU mask.
    std::function<void()> prepare;
    /// In each new worker; its result is the exit status, 70 (EX_SOFTWARE) if it throws.
    std::function<int(const worker_start&)> worker_main;
};

struct received {
    message what;
    base::unique_fd pidfd;  ///< with message_kind::forked
};

/// The process that forks workers (design.md §1): forked once, early; single-threaded, small; runs
/// no user code and writes no shared memory. This is the host's end of it.
///
/// It is invisible to the host's own children: exit signal 0, so no SIGCHLD, and waitpid(-1)
/// doesn't see it. With one thread in the host it is a raw clone. With more, glibc must take its
/// locks around the fork, and its fork() has no exit signal to choose: so an intermediate that
/// shares our memory forks and ends, and the server becomes a child of init or of the nearest
/// subreaper. If that is the host itself (PID 1 of a container), its waitpid(-1) will see one child
/// more, and a SIGCHLD when the pool ends.
///
/// With one thread, no handler of pthread_atfork() runs for the server; for workers they do. The
/// host's atexit() handlers run in neither: both leave by _exit().
///
/// One thread at a time, but for pid() and pidfd().
class fork_server {
  public:
    /// \throws std::system_error naming the call that failed; nothing is left behind
    explicit fork_server(const fork_server_options& options);
    /// stop() with one second.
    ~fork_server();
    fork_server(const fork_server&) = delete;
    fork_server& operator=(const fork_server&) = delete;

    /// False when the server is gone, or stuck with more than 255 requests unanswered; errno says
    /// why.
    bool fork_worker(unsigned seat, unsigned index) noexcept;
    /// Kills the worker of `seat`, for whom the host has no pidfd; false as fork_worker().
    bool end_worker(unsigned seat) noexcept;
    /// Readable when receive() has something, or when the other end is gone.
    [[nodiscard]] int socket() const noexcept { return socket_.get(); }
    /// Never blocks. Malformed messages are dropped.
    [[nodiscard]] std::optional<received> receive() noexcept;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Readable once the server has ended.
    [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }

    /// Ends all workers, their process groups and the server; kills it if that takes too long.
    void stop(base::time_point deadline) noexcept;

  private:
    bool send(const request& ask) noexcept;
    void fork_single_threaded(const fork_server_options& options, int server_end, int host);
    void fork_in_two_steps(const fork_server_options& options, int server_end, int host);

    base::unique_fd socket_;
    base::unique_fd pidfd_;
    pid_t pid_ = -1;
};

/// The server's own program. Never returns.
[[noreturn]] void run_fork_server(const fork_server_options& options, int socket,
                                  int host_pidfd) noexcept;

/// A worker's report to the host, once; closes `fd`.
void report_started(const worker_start& worker) noexcept;
void report_start_failed(const worker_start& worker, std::string_view why) noexcept;

}  // namespace prefork::process

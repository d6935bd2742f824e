#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/fail_point.hpp"
#include "base/signal_mask.hpp"
#include "base/system_call.hpp"
#include "process/child_setup.hpp"
#include "process/fork_server.hpp"

// The fork server's own life. No exceptions to speak of, no locks, no shared memory: it forks,
// reaps, and ends when the host ends.

namespace prefork::process {
namespace {

struct live_worker {
    pid_t pid;
    unsigned seat;
};

class server {
  public:
    server(const fork_server_options& options, int socket, int host) noexcept
        : options_(options), socket_(socket), host_(host) {}
    [[noreturn]] void run() noexcept;

  private:
    void handle_requests() noexcept;
    void fork_worker(unsigned seat, unsigned index) noexcept;
    void reap() noexcept;
    void end_orphans() noexcept;
    [[noreturn]] void end() noexcept;
    void send(const message& what, int fd = -1) noexcept;

    const fork_server_options& options_;
    int socket_;
    int host_;
    int signals_ = -1;
    std::vector<live_worker> workers_;
};

void server::send(const message& what, int fd) noexcept {
    iovec bytes{const_cast<message*>(&what), sizeof what};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    if (fd >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        cmsghdr* const with = CMSG_FIRSTHDR(&header);
        with->cmsg_level = SOL_SOCKET;
        with->cmsg_type = SCM_RIGHTS;
        with->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(with), &fd, sizeof fd);
    }
    while (::sendmsg(socket_, &header, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return;
        // The host doesn't read for now; if it is gone, there is nobody to tell.
        pollfd either[] = {{socket_, POLLOUT, 0}, {host_, POLLIN, 0}};
        ::poll(either, 2, -1);
        if (either[1].revents != 0) end();
    }
}

void server::fork_worker(unsigned seat, unsigned index) noexcept {
    const pid_t self = ::getpid();
    message answer{message_kind::forked, seat, 0, 0, 0, {}};
    const int injected = base::fail_point::hit("server.fork");
    const pid_t pid = injected != 0 ? (errno = injected, -1) : ::fork();
    if (pid == 0) {
        ::close(signals_);
        ::close(host_);
        const worker_start start{seat, index, self, socket_};
        become_child(start, options_.name, options_.keep_fds);
        ::_exit(options_.worker_main(start));
    }
    if (pid < 0) {
        answer.kind = message_kind::fork_failed;
        answer.code = errno;
        return send(answer);
    }
    // In both processes, so that neither a kill of the group nor a grandchild comes too early.
    ::setpgid(pid, pid);
    workers_.push_back({pid, seat});
    answer.pid = pid;
    const base::unique_fd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
    send(answer, pidfd.get());
}

void server::reap() noexcept {
    signalfd_siginfo drained;
    while (::read(signals_, &drained, sizeof drained) > 0) {
    }
    siginfo_t end{};
    while (end.si_pid = 0,
           ::waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && end.si_pid != 0) {
        const pid_t pid = end.si_pid;
        const auto known = std::find_if(workers_.begin(), workers_.end(),
                                        [&](const live_worker& each) { return each.pid == pid; });
        // While the zombie holds the id, the group's number can't belong to anybody else.
        if (known != workers_.end()) ::kill(-pid, SIGKILL);
        ::waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | __WALL);
        if (known == workers_.end()) continue;
        const message gone{message_kind::reaped, known->seat, pid, end.si_code, end.si_status, {}};
        workers_.erase(known);
        send(gone);
    }
    end_orphans();
}

// What left its worker's group (setsid) and lost its parent has come to us, the subreaper.
void server::end_orphans() noexcept {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/children", ::getpid());
    const std::string children = base::read_small_file(path);
    for (const char* at = children.c_str(); *at != '\0';) {
        char* next = nullptr;
        const auto pid = static_cast<pid_t>(std::strtol(at, &next, 10));
        if (next == at) break;
        at = next + (*next == ' ');
        const bool known = std::any_of(workers_.begin(), workers_.end(),
                                       [&](const live_worker& each) { return each.pid == pid; });
        if (!known && pid > 1) ::kill(pid, SIGKILL);  // SIGCHLD brings us back to reap it
    }
}

void server::handle_requests() noexcept {
    request ask{};
    for (;;) {
        const ssize_t size = ::recv(socket_, &ask, sizeof ask, MSG_DONTWAIT);
        if (size < 0 && errno == EINTR) continue;
        if (size == 0) end();
        if (size < 0) return;
        if (size != sizeof ask) continue;
        if (ask.kind == request_kind::fork) fork_worker(ask.seat, ask.index);
        if (ask.kind == request_kind::stop) end();
    }
}

void server::end() noexcept {
    for (const live_worker& each : workers_) ::kill(-each.pid, SIGKILL);
    for (const live_worker& each : workers_) ::kill(each.pid, SIGKILL);
    // Everything below us ends: SIGKILL can't be refused, and orphans arrive as their parents go.
    for (int quiet = 0; quiet < 2;) {
        siginfo_t gone{};
        if (::waitid(P_ALL, 0, &gone, WEXITED | __WALL) == 0) {
            std::erase_if(workers_,
                          [&](const live_worker& each) { return each.pid == gone.si_pid; });
            end_orphans();
            quiet = 0;
        } else if (errno == ECHILD) {
            ++quiet;
        }
    }
    ::_exit(0);
}

void server::run() noexcept {
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, nullptr);
    signals_ = ::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    for (;;) {
        pollfd watched[] = {{socket_, POLLIN, 0}, {host_, POLLIN, 0}, {signals_, POLLIN, 0}};
        if (::poll(watched, 3, -1) < 0) continue;
        if (watched[1].revents != 0) end();
        if (watched[2].revents != 0) reap();
        if (watched[0].revents != 0) handle_requests();
    }
}

}  // namespace

void run_fork_server(const fork_server_options& options, int socket, int host_pidfd) noexcept {
    base::reset_signals_in_child();
    name_process(options.name, "server");
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_PDEATHSIG, 0);
    std::vector<int> keep = options.keep_fds;
    keep.insert(keep.end(), {socket, host_pidfd});
    close_all_but(keep);
    if (options.prepare) options.prepare();
    server{options, socket, host_pidfd}.run();
}

namespace {

void report(const worker_start& worker, message_kind kind, std::string_view why) noexcept {
    message said{kind, worker.seat, ::getpid(), 0, 0, {}};
    why.copy(said.text, std::min(why.size(), sizeof said.text - 1));
    while (::send(worker.report_fd, &said, sizeof said, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) break;
        pollfd one{worker.report_fd, POLLOUT, 0};
        ::poll(&one, 1, 1000);
    }
    ::close(worker.report_fd);
}

}  // namespace

void report_started(const worker_start& worker) noexcept {
    report(worker, message_kind::started, "");
}

void report_start_failed(const worker_start& worker, std::string_view why) noexcept {
    report(worker, message_kind::start_failed, why);
}

}  // namespace prefork::process

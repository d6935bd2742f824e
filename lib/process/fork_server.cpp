#include "process/fork_server.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>

#include "base/fail_point.hpp"
#include "base/signal_mask.hpp"
#include "base/system_call.hpp"

namespace prefork::process {
namespace {

[[noreturn]] void fail(int error, const char* what) { base::throw_system_error(error, what); }

// errno of the call, or what a test injects in its place.
int error_at(const char* place, bool failed) noexcept {
    if (const int injected = base::fail_point::hit(place); injected != 0) return injected;
    return failed ? errno : 0;
}

}  // namespace

fork_server::fork_server(const fork_server_options& options) {
    int ends[2] = {-1, -1};
    const bool no_socket =
        ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0;
    socket_.reset(ends[0]);
    const base::unique_fd server_end{ends[1]};
    if (const int error = error_at("fork_server.socketpair", no_socket); error != 0) {
        fail(error, "socketpair for the fork server");
    }
    const base::unique_fd host = base::pidfd_open(::getpid());
    const base::all_signals_blocked no_signals;
    if (base::thread_count() == 1) {
        fork_single_threaded(options, server_end.get(), host.get());
    } else {
        fork_in_two_steps(options, server_end.get(), host.get());
    }
}

void fork_server::fork_single_threaded(const fork_server_options& options, int server_end,
                                       int host) {
    int pidfd = -1;
    // exit signal 0 (the low byte of the flags): neither SIGCHLD nor waitpid(-1) tell of it.
    const long pid = error_at("fork_server.clone", false) != 0
                         ? (errno = EAGAIN, -1)
                         : ::syscall(SYS_clone, CLONE_PIDFD, nullptr, &pidfd, nullptr, nullptr);
    if (pid == 0) run_fork_server(options, server_end, host);
    if (pid < 0) fail(errno, "clone for the fork server");
    pid_ = static_cast<pid_t>(pid);
    pidfd_.reset(pidfd);
    our_child_ = true;
}

namespace {

// The frame that the intermediate shares with the host's thread, which the kernel holds until the
// intermediate has ended (CLONE_VFORK).
struct two_steps {
    const fork_server_options* options;
    int server_end;
    int host;
    volatile pid_t server;
    volatile int error;
};

int intermediate(void* argument) {
    auto& shared = *static_cast<two_steps*>(argument);
    const pid_t pid = ::fork();  // glibc's, which takes the locks of malloc and stdio around it
    if (pid == 0) run_fork_server(*shared.options, shared.server_end, shared.host);
    shared.error = pid < 0 ? errno : 0;
    shared.server = pid;
    ::_exit(0);
}

}  // namespace

void fork_server::fork_in_two_steps(const fork_server_options& options, int server_end, int host) {
    two_steps shared{&options, server_end, host, -1, 0};
    // glibc's clone() wants a stack of its own; 256 KiB, as fork handlers of other libraries run on
    // it.
    constexpr std::size_t stack_bytes = 256 * 1024;
    const std::unique_ptr<char[]> stack{new char[stack_bytes]};
    const int before = errno;
    const pid_t middle =
        ::clone(intermediate, stack.get() + stack_bytes, CLONE_VM | CLONE_VFORK, &shared);
    if (middle < 0) fail(errno, "clone for the fork server");
    errno = before;
    while (::waitpid(middle, nullptr, __WALL) < 0 && errno == EINTR) {
    }
    if (shared.server < 0) fail(shared.error, "fork for the fork server");
    pid_ = shared.server;
    pidfd_ = base::pidfd_open(pid_);
}

fork_server::~fork_server() { stop(base::monotonic::now() + std::chrono::seconds(1)); }

bool fork_server::fork_worker(unsigned seat, unsigned index) noexcept {
    const request ask{request_kind::fork, seat, index};
    return ::send(socket_.get(), &ask, sizeof ask, MSG_NOSIGNAL) == sizeof ask;
}

std::optional<received> fork_server::receive() noexcept {
    received got{};
    iovec bytes{&got.what, sizeof got.what};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t size;
    do {
        size = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size <= 0) return std::nullopt;
    const cmsghdr* const with = CMSG_FIRSTHDR(&header);
    if (with != nullptr && with->cmsg_type == SCM_RIGHTS &&
        with->cmsg_len == CMSG_LEN(sizeof(int))) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(with), sizeof fd);
        got.pidfd.reset(fd);
    }
    if (size != sizeof got.what) return receive();
    got.what.text[sizeof got.what.text - 1] = '\0';
    return got;
}

void fork_server::stop(base::time_point deadline) noexcept {
    if (!pidfd_) return;
    const request ask{request_kind::stop, 0, 0};
    static_cast<void>(::send(socket_.get(), &ask, sizeof ask, MSG_NOSIGNAL));
    if (!base::wait_readable(pidfd_.get(), deadline)) {
        // Its workers follow by PR_SET_PDEATHSIG.
        base::pidfd_send_signal(pidfd_.get(), SIGKILL);
        static_cast<void>(
            base::wait_readable(pidfd_.get(), base::monotonic::now() + std::chrono::seconds(10)));
    }
    siginfo_t end{};
    // __WALL: children with an exit signal other than SIGCHLD are not seen otherwise. Not ours any
    // more (ECHILD) after two steps, unless the host is a subreaper.
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &end, WEXITED | __WALL) < 0 &&
           errno == EINTR) {
    }
    pidfd_.reset();
    socket_.reset();
}

}  // namespace prefork::process

#include "process/fork_server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>  // glibc 2.35
#endif

#include <algorithm>
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

// Deadlines are compared across processes. A host that has unshared its time namespace keeps its
// own clocks, but what it forks from then on has others.
void refuse_other_clocks() {
    struct stat ours {};
    struct stat theirs {};
    // thread-self: where the main thread has ended, /proc/self has no namespaces any more.
    if (::stat("/proc/thread-self/ns/time", &ours) != 0 ||
        ::stat("/proc/thread-self/ns/time_for_children", &theirs) != 0 ||
        ours.st_ino == theirs.st_ino) {
        return;
    }
    fail(EXDEV,
         "workers would have other clocks than this process, which has called "
         "unshare(CLONE_NEWTIME): fork once after that call, and make the pool in the child");
}

base::unique_fd pidfd_of_this_process() {
    if (base::fail_point::refused("fork_server.pidfd_open")) {
        fail(errno, "pidfd_open for the fork server");
    }
    return base::pidfd_open(::getpid());
}

}  // namespace

fork_server::fork_server(const fork_server_options& options) {
    int ends[2] = {-1, -1};
    if (base::fail_point::refused("fork_server.socketpair") ||
        ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        fail(errno, "socketpair for the fork server");
    }
    socket_ = base::above_standard_streams(ends[0]);
    const base::unique_fd server_end = base::above_standard_streams(ends[1]);
    if (!socket_ || !server_end) fail(errno, "fcntl(F_DUPFD) for the fork server");
    refuse_other_clocks();
    const base::unique_fd host = pidfd_of_this_process();
    const base::all_signals_blocked no_signals;
    if (base::thread_count() == 1) {
        fork_single_threaded(options, server_end.get(), host.get());
    } else {
        fork_in_two_steps(options, server_end.get(), host.get());
    }
    if (!pidfd_) {
        const int error = errno;
        ::kill(pid_, SIGKILL);  // it waits for us, so the number is its own
        ::waitpid(pid_, nullptr, __WALL);
        fail(error, "fcntl(F_DUPFD) for the fork server");
    }
}

void fork_server::fork_single_threaded(const fork_server_options& options, int server_end,
                                       int host) {
    if (base::fail_point::refused("fork_server.clone")) fail(errno, "clone for the fork server");
    int pidfd = -1;
    // exit signal 0 (the low byte of the flags): neither SIGCHLD nor waitpid(-1) tell of it.
    const long pid = ::syscall(SYS_clone, CLONE_PIDFD, nullptr, &pidfd, nullptr, nullptr);
    if (pid == 0) run_fork_server(options, server_end, host);
    if (pid < 0) fail(errno, "clone for the fork server");
    pid_ = static_cast<pid_t>(pid);
    pidfd_ = base::above_standard_streams(pidfd);
}

namespace {

// Lies in the frame of the host's thread, which the kernel holds until the intermediate, who shares
// it, has ended (CLONE_VFORK). The server gets a copy of it, as of everything.
struct two_steps {
    ucontext_t caller{};
    volatile bool in_server = false;
    volatile pid_t server = -1;
    volatile int pidfd = -1;
    volatile int error = 0;
    const char* volatile failed = "fork for the fork server";
};

// It shares the descriptors too (CLONE_FILES), so that it can open the server's pidfd for the host
// while it is its parent: nobody else can reap it then, so its id can't be somebody else's.
// AddressSanitizer doesn't know this stack, and would say so at each _exit().
__attribute__((no_sanitize("address"))) int intermediate(void* argument) {
    auto& shared = *static_cast<two_steps*>(argument);
    // glibc's, which takes the locks of malloc and stdio around it. It finds them through the
    // thread pointer, which is still the calling thread's.
    const pid_t pid = base::fail_point::refused("fork_server.fork") ? -1 : ::fork();
    if (pid == 0) {
        shared.in_server = true;
        ::setcontext(&shared.caller);
        ::_exit(70);
    }
    if (pid < 0) {
        shared.error = errno;
        ::_exit(0);
    }
    shared.pidfd = base::fail_point::refused("fork_server.server_pidfd_open")
                       ? -1
                       : static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (shared.pidfd < 0) {
        shared.error = errno;
        shared.failed = "pidfd_open for the fork server";
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        ::_exit(0);
    }
    shared.server = pid;
    ::_exit(0);
}

// The kernel ends the registration of restartable sequences in a process that shares memory (the
// intermediate), and its fork inherits that: sched_getcpu() would name one CPU for ever, and
// allocators with a cache a CPU would trust it.
void register_restartable_sequences() noexcept {
#ifdef RSEQ_SIG
    if (__rseq_size == 0) return;
    char* const area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    // 32: the size of the first version, which the kernel insists on and glibc registers.
    ::syscall(SYS_rseq, area, std::max(__rseq_size, 32u), 0, RSEQ_SIG);
#endif
}

}  // namespace

void fork_server::fork_in_two_steps(const fork_server_options& options, int server_end, int host) {
    two_steps shared;
    // The intermediate needs a stack, and the server would stay on its copy: of fixed size, without
    // a guard, unknown to debuggers and sanitizers, and every worker's. So the server comes back
    // here, to the stack of the thread that it is a copy of.
    ::getcontext(&shared.caller);
    if (shared.in_server) {
        register_restartable_sequences();
        run_fork_server(options, server_end, host);
    }
    if (base::fail_point::refused("fork_server.clone")) fail(errno, "clone for the fork server");
    // Handlers of pthread_atfork() run on it.
    constexpr std::size_t stack_bytes = 256 * 1024;
    const std::unique_ptr<char[]> stack{new char[stack_bytes]};
    const pid_t middle = ::clone(intermediate, stack.get() + stack_bytes,
                                 CLONE_VM | CLONE_VFORK | CLONE_FILES, &shared);
    if (middle < 0) fail(errno, "clone for the fork server");
    while ((base::fail_point::refused("fork_server.waitpid") ||
            ::waitpid(middle, nullptr, __WALL) < 0) &&
           errno == EINTR) {
    }
    // ECHILD: it was killed before it could say.
    if (shared.server < 0) fail(shared.error != 0 ? shared.error : ECHILD, shared.failed);
    pid_ = shared.server;
    pidfd_ = base::above_standard_streams(shared.pidfd);
}

fork_server::~fork_server() { stop(base::monotonic::now() + std::chrono::seconds(1)); }

bool fork_server::fork_worker(unsigned seat, unsigned index) noexcept {
    const request ask{request_kind::fork, seat, index};
    return send(ask);
}

bool fork_server::end_worker(unsigned seat) noexcept { return send({request_kind::end, seat, 0}); }

bool fork_server::send(const request& ask) noexcept {
    while (base::fail_point::refused("fork_server.send") ||
           ::send(socket_.get(), &ask, sizeof ask, MSG_NOSIGNAL) != sizeof ask) {
        if (errno == EINTR) continue;
        // The socket holds some 270 requests.
        pollfd one{socket_.get(), POLLOUT, 0};
        if (errno != EAGAIN) return false;
        if (!base::fail_point::refused("fork_server.poll") && ::poll(&one, 1, 1000) == 0) {
            errno = EAGAIN;
            return false;
        }
    }
    return true;
}

namespace {

// One message of the right size, or nothing. `size`: what recvmsg() said.
std::optional<received> receive_one(int socket, ssize_t& size) noexcept {
    received got{};
    iovec bytes{&got.what, sizeof got.what};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    do {
        size = base::fail_point::refused("fork_server.recvmsg")
                   ? -1
                   : ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        // ECONNRESET comes once, before what a server that left had still sent.
    } while (size < 0 && (errno == EINTR || errno == ECONNRESET));
    if (size <= 0) return std::nullopt;
    const cmsghdr* const with = CMSG_FIRSTHDR(&header);
    if (with != nullptr && with->cmsg_type == SCM_RIGHTS &&
        with->cmsg_len == CMSG_LEN(sizeof(int))) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(with), sizeof fd);
        got.pidfd = base::above_standard_streams(fd);
        // The kernel leaves it out when this process has no number free, and says nothing else.
        if (base::fail_point::refused("fork_server.recvmsg_pidfd")) got.pidfd.reset();
    }
    if (size != sizeof got.what || (header.msg_flags & MSG_TRUNC) != 0) return std::nullopt;
    got.what.text[sizeof got.what.text - 1] = '\0';
    return got;
}

}  // namespace

std::optional<received> fork_server::receive() noexcept {
    for (ssize_t size = 1; size > 0;) {
        if (auto got = receive_one(socket_.get(), size)) return got;
    }
    return std::nullopt;
}

void fork_server::stop(base::time_point deadline) noexcept {
    if (!pidfd_) return;
    const request ask{request_kind::stop, 0, 0};
    if (!base::fail_point::refused("fork_server.stop_send")) {
        static_cast<void>(::send(socket_.get(), &ask, sizeof ask, MSG_NOSIGNAL));
    }
    // Nobody reads any more: a server that waits for us to do so goes on.
    ::shutdown(socket_.get(), SHUT_RDWR);
    if (!base::wait_readable(pidfd_.get(), deadline)) {
        // Its workers follow by PR_SET_PDEATHSIG.
        base::pidfd_send_signal(pidfd_.get(), SIGKILL);
        static_cast<void>(
            base::wait_readable(pidfd_.get(), base::monotonic::now() + std::chrono::seconds(10)));
    }
    siginfo_t end{};
    // __WALL: children with an exit signal other than SIGCHLD are not seen otherwise. Not ours any
    // more (ECHILD) after two steps, unless the host is a subreaper. WNOHANG: what not even SIGKILL
    // ended, asleep in the kernel, is not waited for.
    while ((base::fail_point::refused("fork_server.waitid") ||
            ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &end, WEXITED | WNOHANG | __WALL) <
                0) &&
           errno == EINTR) {
    }
    pidfd_.reset();
    socket_.reset();
}

}  // namespace prefork::process

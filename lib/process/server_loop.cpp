#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
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
#include "process/leave.hpp"

// The fork server's own life. No exceptions to speak of, no locks, no shared memory: it forks,
// reaps, and ends when the host ends.

namespace prefork::process {
namespace {

struct live_worker {
    pid_t pid;
    unsigned seat;
    base::unique_fd report;  ///< until it said how its start went
};

/// How long the end of everything below may stand still before the server leaves all the same:
/// something sleeps in the kernel then, deaf to SIGKILL.
constexpr int patience_ms = 5000;

class server {
  public:
    server(const fork_server_options& options, std::vector<int> keep_fds, int socket,
           int host) noexcept
        : options_(options), keep_fds_(std::move(keep_fds)), socket_(socket), host_(host) {}
    [[noreturn]] void run() noexcept;

  private:
    void handle_requests() noexcept;
    void fork_worker(unsigned seat, unsigned index) noexcept;
    void refuse(unsigned seat, int error, const char* call) noexcept;
    [[noreturn]] void run_worker(unsigned seat, unsigned index, pid_t self, int report) noexcept;
    void end_worker(unsigned seat) noexcept;
    void forward_report(live_worker& from) noexcept;
    void reap() noexcept;
    bool reap_one() noexcept;
    void end_orphans() noexcept;
    [[nodiscard]] live_worker* find(pid_t pid) noexcept;
    [[noreturn]] void end() noexcept;
    void send(const message& what, int fd = -1) noexcept;

    const fork_server_options& options_;
    std::vector<int> keep_fds_;
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
    while (base::fail_point::refused("server.sendmsg") ||
           ::sendmsg(socket_, &header, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR) continue;
        // Short of memory, or of descriptors that may be under way: a message is not lost for that.
        const bool soon = errno == ENOMEM || errno == ENOBUFS || errno == ETOOMANYREFS;
        if (errno != EAGAIN && !soon) return;
        // The host doesn't read for now; if it is gone, there is nobody to tell.
        constexpr int look_again_ms = 10;
        pollfd either[] = {{host_, POLLIN, 0}, {socket_, POLLOUT, 0}};
        if (!base::fail_point::refused("server.send_poll")) {
            ::poll(either, soon ? 1 : 2, soon ? look_again_ms : -1);
        }
        if (either[0].revents != 0) end();
    }
}

void server::fork_worker(unsigned seat, unsigned index) noexcept {
    const pid_t self = ::getpid();
    message answer{message_kind::forked, seat, 0, 0, 0, 0, {}};
    int report[2] = {-1, -1};
    if (base::fail_point::refused("server.pipe2") || ::pipe2(report, O_CLOEXEC) != 0) {
        return refuse(seat, errno, "pipe2");
    }
    base::unique_fd said = base::above_standard_streams(report[0]);
    base::unique_fd to_say = base::above_standard_streams(report[1]);
    if (!said || !to_say) return refuse(seat, errno, "fcntl(F_DUPFD)");
    const pid_t pid = base::fail_point::refused("server.fork") ? -1 : ::fork();
    if (pid == 0) run_worker(seat, index, self, to_say.get());
    if (pid < 0) return refuse(seat, errno, "fork");
    to_say.reset();
    base::fail_point::pass("server.forked");
    const base::unique_fd pidfd{base::fail_point::refused("server.pidfd_open")
                                    ? -1
                                    : static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
    if (!pidfd) {
        // The host could never end it. The child is reaped as one that nobody knows.
        const int error = errno;
        ::kill(pid, SIGKILL);
        return refuse(seat, error, "pidfd_open");
    }
    // In both processes, so that neither a kill of the group nor a grandchild comes too early.
    ::setpgid(pid, pid);
    ::fcntl(said.get(), F_SETFL, O_NONBLOCK);
    workers_.push_back({pid, seat, std::move(said)});
    answer.pid = pid;
    send(answer, pidfd.get());
}

void server::refuse(unsigned seat, int error, const char* call) noexcept {
    message answer{message_kind::fork_failed, seat, 0, error, 0, 0, {}};
    std::strncpy(answer.text, call, sizeof answer.text - 1);
    send(answer);
}

void server::run_worker(unsigned seat, unsigned index, pid_t self, int report) noexcept {
    base::fail_point::enter(base::fail_points::worker);
    ::close(signals_);
    ::close(host_);
    // The number of the server's socket was nobody's in the host, so whatever the host's objects
    // close here under their old numbers, it is not the report.
    while (base::fail_point::refused("worker.dup3") || ::dup3(report, socket_, O_CLOEXEC) < 0) {
        if (errno == EINTR || errno == EBUSY) continue;
        report_start_failed({seat, index, self, report},
                            std::string("dup3: ") + std::strerror(errno));
        ::_exit(71);  // EX_OSERR
    }
    const worker_start start{seat, index, self, socket_};
    become_child(start, options_.name, keep_fds_);
    drop_inherited_output();
    int status = 70;
    try {
        status = options_.worker_main(start);
    } catch (...) {
        // Ended inside the handler: a thread's cancellation passes here too, and must not go on.
        ::_exit(70);
    }
    leave(status);
}

// A worker is believed about itself only, and only in these two forms.
void server::forward_report(live_worker& from) noexcept {
    if (!from.report) return;
    message said{};
    ssize_t size;
    do {
        size = base::fail_point::refused("server.report_read")
                   ? -1
                   : ::read(from.report.get(), &said, sizeof said);
    } while (size < 0 && errno == EINTR);
    if (size < 0 && errno == EAGAIN) return;
    from.report.reset();
    if (size != sizeof said) return;
    if (said.kind != message_kind::started && said.kind != message_kind::start_failed) return;
    said.seat = from.seat;
    said.pid = from.pid;
    send(said);
}

live_worker* server::find(pid_t pid) noexcept {
    const auto at = std::find_if(workers_.begin(), workers_.end(),
                                 [&](const live_worker& each) { return each.pid == pid; });
    return at == workers_.end() ? nullptr : &*at;
}

bool server::reap_one() noexcept {
    siginfo_t end{};
    if (::waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 || end.si_pid == 0) {
        return false;
    }
    const pid_t pid = end.si_pid;
    live_worker* const known = find(pid);
    // While the zombie holds the id, the group's number can't belong to anybody else.
    if (known != nullptr) ::kill(-pid, SIGKILL);
    base::fail_point::pass("server.before_reap");
    rusage used{};
    // The kernel's waitid tells what was used too; the C library's has no parameter for it.
    ::syscall(SYS_waitid, P_PID, static_cast<id_t>(pid), &end, WEXITED | __WALL, &used);
    if (known == nullptr) return true;
    forward_report(*known);
    const message gone{message_kind::reaped,
                       known->seat,
                       pid,
                       end.si_code,
                       end.si_status,
                       static_cast<std::uint32_t>(used.ru_maxrss),
                       {}};
    workers_.erase(workers_.begin() + (known - workers_.data()));
    base::fail_point::pass("server.reaped");
    send(gone);
    return true;
}

void server::reap() noexcept {
    signalfd_siginfo drained;
    while (!base::fail_point::refused("server.signals_read") &&
           ::read(signals_, &drained, sizeof drained) > 0) {
    }
    while (reap_one()) {
    }
    end_orphans();
}

// Calls `visit` with the id of each of our children.
template <class Visit>
void for_each_listed_child(const std::string& list, Visit visit) {
    for (const char* at = list.c_str(); *at != '\0';) {
        char* next = nullptr;
        const auto pid = static_cast<pid_t>(std::strtol(at, &next, 10));
        if (next == at) break;
        at = next + (*next == ' ');
        visit(pid);
    }
}

// The slow way, for kernels built without CONFIG_PROC_CHILDREN: everybody's parent.
template <class Visit>
void for_each_child_in_proc(Visit visit) {
    DIR* const all = base::fail_point::refused("server.opendir") ? nullptr : ::opendir("/proc");
    if (all == nullptr) return;
    const pid_t self = ::getpid();
    while (const dirent* one = ::readdir(all)) {
        const auto pid = static_cast<pid_t>(std::strtol(one->d_name, nullptr, 10));
        if (pid <= 0) continue;
        // "pid (name) state parent …", where the name may hold anything.
        const std::string stat =
            base::read_small_file(std::string("/proc/") + one->d_name + "/stat");
        const auto name_end = stat.rfind(')');
        if (name_end == std::string::npos || name_end + 4 >= stat.size()) continue;
        if (std::strtol(stat.c_str() + name_end + 4, nullptr, 10) == self) visit(pid);
    }
    ::closedir(all);
}

// What left its worker's group (setsid) and lost its parent has come to us, the subreaper.
void server::end_orphans() noexcept {
    // What it lists is what we kill. Without it, only those in a worker's group are known.
    if (!base::proc_is_ours()) return;
    const auto end_unknown = [&](pid_t pid) {
        if (find(pid) == nullptr) ::kill(pid, SIGKILL);  // SIGCHLD brings us back to reap it
    };
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/children", ::getpid());
    const bool listed = !base::fail_point::refused("server.children") && ::access(path, R_OK) == 0;
    if (listed) return for_each_listed_child(base::read_small_file(path), end_unknown);
    for_each_child_in_proc(end_unknown);
}

void server::handle_requests() noexcept {
    request ask{};
    for (;;) {
        const ssize_t size = base::fail_point::refused("server.recv")
                                 ? -1
                                 : ::recv(socket_, &ask, sizeof ask, MSG_DONTWAIT);
        if (size < 0 && errno == EINTR) continue;
        if (size == 0) end();
        if (size < 0) return;
        if (size != sizeof ask) continue;
        if (ask.kind == request_kind::fork) fork_worker(ask.seat, ask.index);
        if (ask.kind == request_kind::end) end_worker(ask.seat);
        if (ask.kind == request_kind::stop) end();
    }
}

void server::end_worker(unsigned seat) noexcept {
    for (const live_worker& each : workers_) {
        if (each.seat == seat) ::kill(each.pid, SIGKILL);
    }
}

void server::end() noexcept {
    base::fail_point::pass("server.end");
    for (const live_worker& each : workers_) ::kill(-each.pid, SIGKILL);
    for (const live_worker& each : workers_) ::kill(each.pid, SIGKILL);
    workers_.clear();  // orphans now, if the kill of the group missed them
    // Everything below us ends: SIGKILL can't be refused, and orphans arrive as their parents go.
    for (;;) {
        end_orphans();
        siginfo_t gone{};
        bool any = false;
        while (gone.si_pid = 0,
               ::waitid(P_ALL, 0, &gone, WEXITED | WNOHANG | __WALL) == 0 && gone.si_pid != 0) {
            any = true;
        }
        if (any) continue;
        if (::waitid(P_ALL, 0, &gone, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) break;  // ECHILD
        signalfd_siginfo drained;
        pollfd more{signals_, POLLIN, 0};
        if (!base::fail_point::refused("server.end_poll") && ::poll(&more, 1, patience_ms) == 0) {
            break;
        }
        while (::read(signals_, &drained, sizeof drained) > 0) {
        }
    }
    ::_exit(0);
}

void server::run() noexcept {
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, nullptr);
    signals_ = base::fail_point::refused("server.signalfd")
                   ? -1
                   : ::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) {
        refuse(no_seat, errno, "signalfd");
        ::_exit(71);  // EX_OSERR; the host sees us gone
    }
    std::vector<pollfd> watched;
    for (;;) {
        watched.assign({{socket_, POLLIN, 0}, {host_, POLLIN, 0}, {signals_, POLLIN, 0}});
        for (const live_worker& each : workers_) {
            if (each.report) watched.push_back({each.report.get(), POLLIN, 0});
        }
        if (base::fail_point::refused("server.poll") ||
            ::poll(watched.data(), watched.size(), -1) < 0) {
            continue;
        }
        if (watched[1].revents != 0) end();
        if (watched.size() > 3) {
            for (live_worker& each : workers_) forward_report(each);
        }
        if (watched[2].revents != 0) reap();
        if (watched[0].revents != 0) handle_requests();
    }
}

}  // namespace

void run_fork_server(const fork_server_options& options, int socket, int host_pidfd) noexcept {
    base::fail_point::enter(base::fail_points::server);
    base::reset_signals_in_child();
    // These may go to the host's whole group, or cgroup; what they mean is the host's to decide,
    // and its end is ours.
    for (const int signal : {SIGTERM, SIGHUP, SIGQUIT}) ::signal(signal, SIG_IGN);
    name_process(options.name, "server");
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_PDEATHSIG, 0);
    // A number that isn't open now would name something of the server's later.
    std::vector<int> keep = options.keep_fds;
    std::erase_if(
        keep, [&](int fd) { return fd == socket || fd == host_pidfd || ::fcntl(fd, F_GETFD) < 0; });
    std::vector<int> open = keep;
    open.insert(open.end(), {socket, host_pidfd});
    close_all_but(std::move(open));
    if (options.prepare) options.prepare();
    server{options, std::move(keep), socket, host_pidfd}.run();
}

namespace {

void report(const worker_start& worker, message_kind kind, std::string_view why) noexcept {
    message said{kind, worker.seat, ::getpid(), 0, 0, 0, {}};
    why.copy(said.text, std::min(why.size(), sizeof said.text - 1));
    // At most PIPE_BUF bytes into an empty pipe: whole, and at once.
    static_assert(sizeof said <= PIPE_BUF);
    static_cast<void>(base::write_all(worker.report_fd, &said, sizeof said));
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

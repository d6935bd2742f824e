#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

#include "base/fail_point.hpp"
#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"
#include "process/crash_report.hpp"

// How the host hears that a process of its pool has ended: by the kernel's word, and by the fork
// server's. What becomes of the tasks is settle.cpp's.

namespace prefork::detail {
namespace {

// For how long the fork server may keep the end of a worker to itself; it says so within a
// millisecond, unless it was stopped.
constexpr std::chrono::seconds longest_silence{1};
// Fork servers in a row that ended before one of their workers had started: they die by a
// stranger's hand only.
constexpr unsigned most_server_restarts = 100;

}  // namespace

// The kernel's word comes first, and comes even when the fork server is stopped: then nobody knows
// how the worker ended. One descriptor more to wait for however many workers there are, and nothing
// to do while they live. Edge-triggered: a process that the user forked may keep a pidfd open that
// is closed here, and its end is then told once, not for ever.
void pool_core::look_at_deaths(base::time_point now) {
    for (const unsigned seat : std::exchange(told_dead_, {})) {
        process::worker_entry& worker = roster_.at(seat);
        if (roster_.is_alive(seat) && worker.pidfd && worker.unheard_until == base::never &&
            base::pidfd_ended(worker.pidfd.get())) {
            worker.unheard_until = now + longest_silence;
        }
    }
}

void pool_core::end_unheard(process::worker_entry& worker) {
    ::kill(-worker.pid, SIGKILL);  // its group, as the fork server does
    const auto crash = process::read_crash(control_->crash_of(worker.seat), worker.pid);
    worker_ended(worker.seat, crash ? process::death{CLD_KILLED, crash->signal} : process::death{});
}

void pool_core::manage(process::worker_entry& worker, process::received&& got) {
    worker.pid = got.what.pid;
    worker.pidfd = std::move(got.pidfd);
    if (!worker.pidfd) {
        // No number was free for it here. Whoever is without one is of no use; but it may have
        // begun a task already, which is not to be lost for that.
        ask_to_leave(worker);
        if (first_start_failure_.empty())
            first_start_failure_ = "recvmsg: no descriptor free for a worker's pidfd";
        return;
    }
    epoll_event end{};
    end.events = EPOLLIN | EPOLLET;
    end.data.u32 = worker.seat;
    // Refused (ENOSPC, ENOMEM), there is still the fork server's word.
    if (!base::fail_point::refused("monitor.epoll_ctl"))
        ::epoll_ctl(deaths_.get(), EPOLL_CTL_ADD, worker.pidfd.get(), &end);
}

// After what it runs, if anything.
void pool_core::ask_to_leave(process::worker_entry& worker) noexcept {
    worker.asked_to_leave = true;
    control_->journal_of(worker.seat).turn.store(process::turn_to_leave, std::memory_order_release);
    ring_->beds().wake_seat(worker.seat);
}

// By its parent where there is no pidfd, or where a sandbox refuses to signal by one. `by`: none
// for one that is of no use, and runs no task.
void pool_core::kill_worker(process::worker_entry& worker, killer by) noexcept {
    // model: worker.kill
    const bool sent = worker.pidfd && base::pidfd_send_signal(worker.pidfd.get(), SIGKILL);
    if (!sent && worker.pidfd && errno == ESRCH) return;
    if (by != killer::none) worker.killed_by = by;
    if (sent) return;
    for (const auto& each : retired_) {
        if (each.get() == worker.server) static_cast<void>(each->end_worker(worker.seat));
    }
    if (server_ && worker.server == server_.get())
        static_cast<void>(server_->end_worker(worker.seat));
}

// They follow it within milliseconds (PR_SET_PDEATHSIG). Each is settled when the kernel has proved
// its end, and not before: until then it may go on with its task, and even claim another.
void pool_core::end_workers_of(const process::fork_server* server) {
    for (process::worker_entry& each : roster_.all()) {
        if (!roster_.is_alive(each.seat) || each.server != server) continue;
        each.orphaned = true;
        if (each.pidfd) {
            ::kill(-each.pid, SIGKILL);  // its group: grandchildren have nobody else to end them
            if (!base::pidfd_ended(each.pidfd.get())) continue;
            // If it has become our child (we are PID 1, or a subreaper), nobody else reaps it.
            siginfo_t gone{};
            ::waitid(P_PIDFD, static_cast<id_t>(each.pidfd.get()), &gone,
                     WEXITED | WNOHANG | __WALL);
        } else {
            wait_for_unknown(each);
        }
        if (each.killed_by == killer::none) each.killed_by = killer::stranger;
        worker_ended(each.seat, {});
    }
}

// The server ended between its fork and its word of it. Who has come so far that it can claim has
// noted its id before; and all of them are to die at their next system call, or had not yet asked
// for that and leave when they look for their parent. The id may be another's meanwhile, hence the
// bound.
void pool_core::wait_for_unknown(const process::worker_entry& worker) noexcept {
    const pid_t noted = control_->journal_of(worker.seat).pid.load(std::memory_order_acquire);
    if (noted <= 0) return;
    const base::unique_fd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, noted, 0))};
    if (pidfd) static_cast<void>(base::pidfd_ended(pidfd.get(), std::chrono::seconds(1)));
}

// What its workers ran is settled as for any other death, only that nobody knows any more how they
// ended.
void pool_core::server_ended() {
    // All that it ever said lies there.
    while (auto message = server_->receive()) handle(std::move(*message));
    const process::fork_server* const gone = server_.get();
    retired_.push_back(std::move(server_));
    end_workers_of(gone);
    // Mostly they are gone in a moment; who is not is left to look_at_retired().
    const base::time_point patience_end = base::monotonic::now() + std::chrono::seconds(1);
    for (const process::worker_entry& each : roster_.all()) {
        if (each.server != gone || !roster_.is_alive(each.seat)) continue;
        static_cast<void>(base::wait_readable(each.pidfd.get(), patience_end));
    }
    look_at_retired();
    server_gone_since_ = server_due_ = base::monotonic::now();
    replace_server(server_due_);
}

// What the kernel refuses for want of a descriptor or of memory it may give a moment later.
void pool_core::replace_server(base::time_point now) {
    if (now < server_due_) return;
    server_due_ = base::never;
    if (server_) return;
    const bool too_often = server_restarts_ >= most_server_restarts;
    try {
        if (too_often) throw pool_broken("its fork server keeps dying");
        make_server();
        ++server_restarts_;
    } catch (const std::exception& e) {
        if (!too_often && now - server_gone_since_ < patience) {
            server_due_ = now + longest_sleep;
            return;
        }
        broken_ = "pool '" + options_.name + "' can make no workers: " + e.what();
        fail_everything(broken_);
    }
}

}  // namespace prefork::detail

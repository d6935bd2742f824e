#include <sys/epoll.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <memory>
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
// Fork servers in the life of a pool: they die by a stranger's hand only.
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
        // No number was free for it here. Without it the worker couldn't be ended, so it is now.
        if (first_start_failure_.empty())
            first_start_failure_ = "recvmsg: no descriptor free for a worker's pidfd";
        kill_worker(worker);
        return;
    }
    epoll_event end{};
    end.events = EPOLLIN | EPOLLET;
    end.data.u32 = worker.seat;
    // Refused (ENOSPC, ENOMEM), there is still the fork server's word.
    if (!base::fail_point::refused("monitor.epoll_ctl"))
        ::epoll_ctl(deaths_.get(), EPOLL_CTL_ADD, worker.pidfd.get(), &end);
}

// By its parent where there is no pidfd, or where a sandbox refuses to signal by one.
void pool_core::kill_worker(const process::worker_entry& worker) noexcept {
    if (worker.pidfd && (base::pidfd_send_signal(worker.pidfd.get(), SIGKILL) || errno == ESRCH))
        return;
    for (const auto& each : retired_) {
        if (each.get() == worker.server) static_cast<void>(each->end_worker(worker.seat));
    }
    if (server_ && worker.server == server_.get())
        static_cast<void>(server_->end_worker(worker.seat));
}

void pool_core::end_workers_of(const process::fork_server* server) {
    for (process::worker_entry& each : roster_.all()) {
        if (!roster_.is_alive(each.seat) || each.server != server) continue;
        if (each.pidfd) {
            ::kill(-each.pid, SIGKILL);  // its group: grandchildren have nobody else to end them
            static_cast<void>(base::pidfd_ended(each.pidfd.get(), std::chrono::seconds(5)));
            // If it has become our child (we are PID 1, or a subreaper), nobody else reaps it.
            siginfo_t gone{};
            ::waitid(P_PIDFD, static_cast<id_t>(each.pidfd.get()), &gone,
                     WEXITED | WNOHANG | __WALL);
        }
        each.killed_by = killer::stranger;
        worker_ended(each.seat, {});
    }
}

// Its workers follow it within milliseconds (PR_SET_PDEATHSIG); what they ran is settled as for any
// other death, only that nobody knows any more how they ended.
void pool_core::server_ended() {
    const std::unique_ptr<process::fork_server> gone = std::move(server_);
    end_workers_of(gone.get());
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

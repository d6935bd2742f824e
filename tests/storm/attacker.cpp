#include "storm/attacker.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <deque>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/system_call.hpp"
#include "base/unique_fd.hpp"

namespace storm {
namespace {

namespace base = prefork::base;

base::unique_fd try_pidfd_open(pid_t pid) {
    return base::unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

class attacker {
  public:
    attacker(shared_counts& counts, const std::string& pool_name, std::uint64_t seed)
        : counts_(counts), server_name_(pool_name + "/server\n"), random_(seed) {}

    void run() {
        clock::time_point next_server_kill = clock::now() + std::chrono::seconds(2);
        while (counts_.over.load() == 0) {
            wake_stopped(false);
            find_server();
            if (server_ && clock::now() >= next_server_kill) {
                next_server_kill = clock::now() + std::chrono::milliseconds(3000 + up_to(4000));
                if (base::pidfd_send_signal(server_.get(), SIGKILL)) counts_.server_kills += 1;
            } else if (server_ && counts_.lull.load() == 0) {
                strike();
            }
            rest();
        }
        wake_stopped(true);
    }

  private:
    struct stopped {
        base::unique_fd pidfd;
        clock::time_point until;
    };

    std::uint64_t up_to(std::uint64_t most) { return random_() % (most + 1); }
    bool one_in(std::uint64_t many) { return random_() % many == 0; }

    // The pidfd first: what is read of a process that it holds is of that one, or of nobody.
    void find_server() {
        const pid_t said = counts_.server.load();
        if (said == server_pid_ && server_ && !base::pidfd_ended(server_.get())) return;
        server_ = said > 0 ? try_pidfd_open(said) : base::unique_fd{};
        server_pid_ = said;
        if (!server_) return;
        const std::string name = base::read_small_file("/proc/" + std::to_string(said) + "/comm");
        if (name != server_name_ || base::pidfd_ended(server_.get())) server_.reset();
    }

    std::vector<pid_t> workers() {
        const std::string id = std::to_string(server_pid_);
        std::istringstream list{base::read_small_file("/proc/" + id + "/task/" + id + "/children")};
        std::vector<pid_t> found;
        for (pid_t each = 0; list >> each;) found.push_back(each);
        return found;
    }

    base::unique_fd hold(pid_t worker) {
        base::unique_fd pidfd = try_pidfd_open(worker);
        if (!pidfd) return {};
        const std::string stat = base::read_small_file("/proc/" + std::to_string(worker) + "/stat");
        const auto name_end = stat.rfind(')');
        if (name_end == std::string::npos || name_end + 4 >= stat.size()) return {};
        const pid_t parent = static_cast<pid_t>(std::atol(stat.c_str() + name_end + 4));
        return parent == server_pid_ && !base::pidfd_ended(pidfd.get()) ? std::move(pidfd)
                                                                        : base::unique_fd{};
    }

    void strike() {
        if (one_in(800)) {
            if (base::pidfd_send_signal(server_.get(), SIGSTOP)) note_stop(std::move(server_), 20);
            return;
        }
        const std::vector<pid_t> all = workers();
        if (all.empty()) return;
        if (one_in(400)) {
            for (const pid_t each : all) kill(each);
        } else if (one_in(20)) {
            base::unique_fd one = hold(all[up_to(all.size() - 1)]);
            if (one && base::pidfd_send_signal(one.get(), SIGSTOP)) {
                note_stop(std::move(one), one_in(40) ? 1500 : 15);
            }
        } else {
            kill(all[up_to(all.size() - 1)]);
        }
    }

    void kill(pid_t worker) {
        const base::unique_fd one = hold(worker);
        if (one && base::pidfd_send_signal(one.get(), SIGKILL)) counts_.kills += 1;
    }

    void note_stop(base::unique_fd pidfd, std::uint64_t most_ms) {
        counts_.stops += 1;
        const std::chrono::milliseconds time{static_cast<std::int64_t>(up_to(most_ms))};
        stopped_.push_back({std::move(pidfd), clock::now() + time});
    }

    void wake_stopped(bool all) {
        std::erase_if(stopped_, [all](const stopped& each) {
            if (!all && clock::now() < each.until) return false;
            base::pidfd_send_signal(each.pidfd.get(), SIGCONT);
            return true;
        });
    }

    // The instants are to be random, and the machine is to have time for the rest.
    void rest() {
        const timespec time{0, static_cast<long>(up_to(2 * pace_ns_))};
        ::nanosleep(&time, nullptr);
    }

    static constexpr std::uint64_t pace_ns_ = 500'000;

    shared_counts& counts_;
    const std::string server_name_;
    std::mt19937_64 random_;
    base::unique_fd server_;
    pid_t server_pid_ = 0;
    std::deque<stopped> stopped_;
};

}  // namespace

pid_t fork_attacker(shared_counts& counts, const std::string& pool_name, std::uint64_t seed) {
    const pid_t host = ::getpid();
    const pid_t pid = base::checked(::fork(), "fork for the attacker");
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == host) attacker{counts, pool_name, seed}.run();
    ::_exit(0);
}

}  // namespace storm

#pragma once

#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/system_call.hpp"
#include "process/fork_server.hpp"

namespace prefork::test {

/// A T that this process and all that it forks from now on see.
template <class T>
class shared {
  public:
    shared()
        : value_(new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                             -1, 0)) T{}) {}
    ~shared() { ::munmap(value_, sizeof(T)); }
    shared(const shared&) = delete;
    shared& operator=(const shared&) = delete;
    [[nodiscard]] T& operator*() const { return *value_; }
    [[nodiscard]] T* operator->() const { return value_; }

  private:
    T* value_;
};

/// Open descriptors of this process, ascending.
inline std::vector<int> open_descriptors() {
    std::vector<int> open;
    DIR* const all = ::opendir("/proc/self/fd");
    while (const dirent* one = ::readdir(all)) {
        if (one->d_name[0] == '.') continue;
        if (const int fd = std::atoi(one->d_name); fd != ::dirfd(all)) open.push_back(fd);
    }
    ::closedir(all);
    std::sort(open.begin(), open.end());
    return open;
}

[[nodiscard]] inline bool has_children() {
    siginfo_t none{};
    return ::waitid(P_ALL, 0, &none, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/// Fails, inside in_new_process().
inline void expect(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

/// Runs `body` in a process of its own, so that signal dispositions, threads and children are its
/// own too. "" when it returned and left neither descriptor nor child; else what went wrong.
inline std::string in_new_process(const std::function<void()>& body) {
    struct text {
        char text[400];
    };
    const shared<text> failure;
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(25);  // a hang is a failure
        std::string why;
        try {
            const auto before = open_descriptors();
            body();
            if (open_descriptors() != before) why = "descriptors were left open";
            if (has_children()) why = "children were left";
        } catch (const std::exception& e) {
            why = e.what();
        }
        why.copy(failure->text, sizeof failure->text - 1);
        ::_exit(why.empty() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? "" : std::string("failed: ") + failure->text;
}

[[noreturn]] inline int wait_for_ever() {
    for (;;) ::pause();
}

/// A worker's main that reports its start and then does nothing.
inline int idle_worker(const process::worker_start& start) {
    process::report_started(start);
    wait_for_ever();
}

/// The next message of that kind; others before it are dropped. Throws if it does not come.
inline process::received next(process::fork_server& server, process::message_kind kind) {
    const auto deadline = base::monotonic::now() + std::chrono::seconds(10);
    while (base::wait_readable(server.socket(), deadline)) {
        auto got = server.receive();
        if (got && got->what.kind == kind) return std::move(*got);
        if (!got && base::pidfd_ended(server.pidfd())) break;
    }
    throw std::runtime_error("the message did not come");
}

struct started_worker {
    pid_t pid;
    base::unique_fd pidfd;
};

inline started_worker start(process::fork_server& server, unsigned seat = 0, unsigned index = 0) {
    expect(server.fork_worker(seat, index), "fork_worker() found no server");
    auto forked = next(server, process::message_kind::forked);
    next(server, process::message_kind::started);
    return {forked.what.pid, std::move(forked.pidfd)};
}

inline process::fork_server_options options(
    std::function<int(const process::worker_start&)> worker_main = idle_worker) {
    process::fork_server_options made;
    made.name = "test";
    made.worker_main = std::move(worker_main);
    return made;
}

[[nodiscard]] inline bool ends(const base::unique_fd& pidfd) {
    return base::pidfd_ended(pidfd.get(), std::chrono::seconds(10));
}

}  // namespace prefork::test

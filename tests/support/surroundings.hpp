#pragma once

#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/in_child.hpp"
#include "support/until.hpp"

// Strange places for a pool, each in a process of its own, and what a pool has to do in all of
// them.

namespace prefork::test {

/// Thrown by what makes the surroundings, where this machine or this user can't.
struct cannot_be_made : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The rest of a program whose cases ran; it ends as skipped (77), with the reason as its last
/// line, unless something failed.
inline void left_out(const std::string& why) {
    static std::string all;
    if (all.empty()) {
        ::on_exit(
            [](int status, void*) {
                if (status != 0) return;
                std::cout << "left out here: " << all << std::endl;
                ::_exit(77);
            },
            nullptr);
    }
    all += (all.empty() ? "" : "; ") + why;
}

/// The calls that make surroundings: refused ones say which, and that nobody is to blame.
inline void make(bool made, const std::string& what) {
    if (!made) throw cannot_be_made(what + ": " + ::strerrordesc_np(errno));
}

/// Inside of in_surroundings(): what it says is the test's failure.
inline void expect(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what);
}

/// Where a process of in_surroundings() writes what went wrong, if it can't throw it.
inline constexpr int failure_fd = 12;

namespace detail {

// Children of children that have ended are ours to reap meanwhile. True once there are none.
inline bool all_are_gone() {
    return until([] {
        while (::waitpid(-1, nullptr, WNOHANG | __WALL) > 0) {
        }
        return ::waitpid(-1, nullptr, WNOHANG | __WALL) < 0 && errno == ECHILD;
    });
}

inline std::string read_to_end(int fd, std::chrono::seconds bound) {
    std::string text;
    const base::time_point end = base::monotonic::now() + bound;
    for (char some[512]; base::wait_readable(fd, end);) {
        const ssize_t size = ::read(fd, some, sizeof some);
        if (size <= 0) return text;
        text.append(some, static_cast<std::size_t>(size));
    }
    return text + "it hangs";
}

}  // namespace detail

/// Runs `body` in a child, whose surroundings it may change as it likes. "" when it returned, or
/// when it threw cannot_be_made; else what went wrong. No process that it began may outlive it.
template <class Body>
[[nodiscard]] std::string in_surroundings(Body body) {
    constexpr std::chrono::seconds bound{100};
    int ends[2] = {-1, -1};
    base::checked(::pipe2(ends, O_CLOEXEC), "pipe2");
    const base::unique_fd reader{ends[0]};
    base::unique_fd writer{ends[1]};
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::cout.flush();
    const pid_t child = fork_child([&] {
        const auto say = [&](const std::string& text) {
            static_cast<void>(base::write_all(writer.get(), text.data(), text.size()));
        };
        try {
            // Out of the way of a body that looks at what stands low.
            base::checked(::dup3(writer.get(), failure_fd, O_CLOEXEC), "dup3");
            writer.reset(failure_fd);
            body();
        } catch (const cannot_be_made& e) {
            say(std::string("left out: ") + e.what());
        } catch (const std::exception& e) {
            say(e.what());
        }
        return 0;
    });
    writer.reset();
    std::string said = detail::read_to_end(reader.get(), bound);
    const child_end end = wait_for_child(child, bound);
    const bool gone = detail::all_are_gone();
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    if (said.rfind("left out: ", 0) == 0) {
        left_out(said.substr(10));
        return "";
    }
    if (end.signal != 0) said += "ended by signal " + std::to_string(end.signal);
    if (!gone) said += "processes were left";
    return said;
}

/// What `call` throws; "" if nothing.
template <class Error, class Call>
[[nodiscard]] std::string what_of(Call call) {
    try {
        call();
    } catch (const Error& e) {
        return e.what();
    }
    return "";
}

/// As expect(), that `call` throws an `Error` whose text has each of `parts`.
template <class Error, class Call>
void expect_error(Call call, const std::vector<std::string>& parts) {
    const std::string text = what_of<Error>(call);
    expect(!text.empty(), "nothing was thrown");
    for (const std::string& each : parts) {
        expect(text.find(each) != std::string::npos, "no '" + each + "' in: " + text);
    }
}

inline int add(int a, int b) { return a + b; }
/// Until it is killed: the signal that asks where it is ends one pause().
inline int hang() {
    for (;;) ::pause();
}

/// A task that raises `signal` ends as its user is promised.
inline void expect_crash(pool& pool, int signal) {
    try {
        pool.submit([](int what) { return ::raise(what); }, signal)
            .get_for(std::chrono::seconds(30));
    } catch (const worker_lost& e) {
        expect(e.signal() == signal, std::string("a crash is told as: ") + e.what());
        return;
    }
    throw std::runtime_error("a crash is no error");
}

/// A task, many, a crash and what comes after it, with results of both kinds: in and out of the
/// slot.
inline void use(pool& pool) {
    constexpr std::chrono::seconds bound{30};
    expect(pool.submit(add, 40, 2).get_for(bound) == 42, "a task's result is wrong");
    std::vector<int> numbers(500);
    std::iota(numbers.begin(), numbers.end(), 0);
    const std::vector<int> doubled = pool.map(numbers, [](int i) { return 2 * i; });
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        expect(doubled.at(i) == 2 * numbers[i], "a map's result is wrong");
    }
    const std::string text(1000, 'x');
    const auto same = [](const std::string& s) { return s; };
    expect(pool.submit(same, text).get_for(bound) == text, "a long result is wrong");
    expect_crash(pool, SIGSEGV);
    expect(pool.submit(add, 1, 2).get_for(bound) == 3, "after a crash, a result is wrong");
    expect(until([&] { return pool.healthy(); }, bound), "it isn't healthy again after a crash");
}

/// From construction to the end.
inline void use_a_pool(pool_options options = {.workers = 2, .memory_budget = 8u << 20}) {
    pool pool{options};
    use(pool);
    expect(pool.shutdown(std::chrono::seconds(30)), "it didn't end in time");
}

inline void write_file(const std::string& path, const std::string& text) {
    const base::unique_fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    make(file && base::write_all(file.get(), text.data(), text.size()), path);
}

/// unshare(2); for who is not root, with a user namespace in which they are.
inline void unshare(int what) {
    const std::string user = std::to_string(::geteuid());
    const std::string group = std::to_string(::getegid());
    if (::geteuid() == 0 || (what & CLONE_NEWUSER) != 0) {
        make(::unshare(what) == 0, "unshare");
        return;
    }
    make(::unshare(what | CLONE_NEWUSER) == 0, "unshare with CLONE_NEWUSER");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + user + " 1");
    write_file("/proc/self/gid_map", "0 " + group + " 1");
}

/// Mounts from here on are this process's own.
inline void own_mounts() {
    unshare(CLONE_NEWNS);
    make(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount --make-rprivate");
}

/// An empty file system there, with those options.
inline void hide(const char* path, const char* options = "size=4k") {
    make(::mount("none", path, "tmpfs", 0, options) == 0, std::string("mount over ") + path);
}

}  // namespace prefork::test

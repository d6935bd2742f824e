#include <sys/mman.h>
#include <unistd.h>

#include <csignal>

#include "base/fail_point.hpp"
#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

// worker_memory_limit: what it kills, and what it leaves alone. That it kills at all is seen in
// settle_test.cpp.

namespace pf = prefork;
using pf::base::fail_point;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t limit = std::size_t{64} << 20;

int twice(int x) { return 2 * x; }

/// 0 when none comes within twenty seconds.
char next_byte(int fd) {
    char byte = 0;
    if (!pf::base::wait_readable(fd, pf::base::monotonic::now() + 20s)) return 0;
    return ::read(fd, &byte, 1) == 1 ? byte : '\0';
}
void say(int fd) { static_cast<void>(!::write(fd, "x", 1)); }

/// Two children of the worker that hold more than the limit together, as none of them may by
/// itself: each once it has read a byte, and then it says so.
void fork_greedy_children(int waits, int told) {
    for (int i = 0; i < 2; ++i) {
        if (::fork() != 0) continue;
        static_cast<void>(next_byte(waits));
        static_cast<void>(::mmap(nullptr, limit * 3 / 4, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
        say(told);
        for (;;) ::pause();
    }
}
/// They have it when this returns.
void fork_greedy_children() {
    int go[2];
    int has[2];
    static_cast<void>(!::pipe(go));
    static_cast<void>(!::pipe(has));
    fork_greedy_children(go[0], has[1]);
    for (int i = 0; i < 2; ++i) say(go[1]);
    for (int i = 0; i < 2; ++i) static_cast<void>(next_byte(has[0]));
    for (const int fd : {go[0], go[1], has[0], has[1]}) ::close(fd);
}

void nap(std::chrono::milliseconds time) {
    const timespec whole{time.count() / 1000, time.count() % 1000 * 1'000'000};
    ::nanosleep(&whole, nullptr);
}

struct pipe_ends {
    pipe_ends() { REQUIRE(::pipe(fds) == 0); }
    ~pipe_ends() {
        for (const int fd : fds) ::close(fd);
    }
    [[nodiscard]] int in() const { return fds[1]; }
    [[nodiscard]] int out() const { return fds[0]; }
    int fds[2];
};

/// Stops the monitor where it is about to kill, from here on.
class held_kill {
  public:
    held_kill() {
        fail_point::arm("system.pidfd_send_signal", fail_point::action::hold, 1, 1, 0,
                        pf::base::fail_points::monitor);
    }
    ~held_kill() { fail_point::disarm(); }
    [[nodiscard]] static bool is_reached() {
        return pf::test::until([] { return fail_point::hits() > 0; });
    }
};

/// A pool of one worker, whose first task has left children that grow beyond the limit once both
/// have read a byte.
struct littered_pool {
    pipe_ends grow;
    pipe_ends grown;
    pf::pool pool{{.workers = 1,
                   .worker_memory_limit = limit,
                   .keep_fds = {grow.out(), grow.in(), grown.out(), grown.in()}}};
    pid_t worker = pool.submit(litter, grow.out(), grown.in()).get_for(20s);

    static pid_t litter(int waits, int told) {
        fork_greedy_children(waits, told);
        nap(50ms);  // the kernel tells starts to 10 ms only
        return ::getpid();
    }
};

}  // namespace

TEST_CASE("what a former task's children hold ends no other task, and the worker leaves after it") {
    const pf::test::leaks none_left;
    littered_pool in;
    const auto innocent = [](int tells, int hears) {
        for (int i = 0; i < 2; ++i) say(tells);
        for (int i = 0; i < 2; ++i) static_cast<void>(next_byte(hears));
        nap(400ms);  // four looks
        return ::getpid();
    };
    CHECK(in.pool.submit(innocent, in.grow.in(), in.grown.out()).get_for(20s) == in.worker);
    CHECK(pf::test::until(
        [&] { return in.pool.submit([] { return ::getpid(); }).get_for(20s) != in.worker; }));
    CHECK(in.pool.stats().lost_workers == 0);
}

TEST_CASE("a worker that holds too much between two tasks leaves, and costs none") {
    const pf::test::leaks none_left;
    littered_pool in;
    for (int i = 0; i < 2; ++i) say(in.grow.in());
    REQUIRE(pf::test::until([&] {
        const auto workers = in.pool.stats().workers;
        return workers.size() == 1 && workers[0].pid != in.worker;
    }));
    CHECK(in.pool.submit(twice, 2).get_for(20s) == 4);
    CHECK(in.pool.stats().lost_workers == 0);
}

TEST_CASE("memory that a worker shares with what it forked counts once") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .worker_memory_limit = limit}};
    const auto family = [] {
        const std::vector<char> shared(limit / 2, 'x');
        pid_t children[3];
        for (pid_t& each : children) {
            each = ::fork();
            while (each == 0) ::pause();
        }
        nap(400ms);  // four looks
        for (const pid_t each : children) ::kill(each, SIGKILL);
        return shared[limit / 4];
    };
    CHECK(pool.submit(family).get_for(20s) == 'x');
}

// The monitor stands still with the pool's lock: nothing is asked of the pool until it is let go.

TEST_CASE(
    "a task that ends while its worker is about to be killed for memory takes no other along") {
    const pf::test::leaks none_left;
    const pipe_ends go;
    const pipe_ends begun;
    const held_kill kill;
    pf::pool pool{{.workers = 1, .worker_memory_limit = limit, .keep_fds = {go.out(), begun.in()}}};
    auto greedy = pool.submit(
        [](int waits) {
            fork_greedy_children();
            static_cast<void>(next_byte(waits));
            return 1;
        },
        go.out());
    auto innocent = pool.submit(
        [](int told) {
            say(told);
            nap(600ms);
            return 2;
        },
        begun.in());
    REQUIRE(kill.is_reached());
    say(go.in());
    REQUIRE(greedy.wait_for(20s));
    // A worker that went on would begin the next within microseconds.
    CHECK_FALSE(pf::base::wait_readable(begun.out(), pf::base::monotonic::now() + 200ms));
    fail_point::release();
    CHECK(greedy.get_for(20s) == 1);  // it had ended before the kill
    CHECK(innocent.get_for(20s) == 2);
}

TEST_CASE("a task that crashes before the kill for its memory arrives is said to have crashed") {
    const pf::test::leaks none_left;
    const pipe_ends go;
    const pipe_ends begun;
    const held_kill kill;
    pf::pool pool{{.workers = 1, .worker_memory_limit = limit, .keep_fds = {go.out(), begun.in()}}};
    auto greedy = pool.submit(
        [](int waits, int told) {
            fork_greedy_children();
            const pid_t self = ::getpid();
            static_cast<void>(!::write(told, &self, sizeof self));
            static_cast<void>(next_byte(waits));
            return ::raise(SIGSEGV);
        },
        go.out(), begun.in());
    pid_t worker = 0;
    REQUIRE(::read(begun.out(), &worker, sizeof worker) == sizeof worker);
    REQUIRE(kill.is_reached());
    say(go.in());
    REQUIRE(pf::test::until([&] { return ::kill(worker, 0) != 0; }));
    fail_point::release();
    try {
        greedy.get_for(20s);
        FAIL("no error");
    } catch (const pf::worker_lost& e) {
        CHECK(e.signal() == SIGSEGV);
        CHECK(e.killed_by() == pf::killer::none);
        CHECK_THAT(e.what(), !pf::test::containing("worker_memory_limit"));
    }
}

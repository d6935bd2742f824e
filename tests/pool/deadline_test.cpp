#include <unistd.h>

#include <chrono>
#include <csignal>
#include <stop_token>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

// What happens when time is over: waiting, running, and on the way to stop.

namespace pf = prefork;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

int twice(int x) { return 2 * x; }

__attribute__((noinline)) int stuck_here(int x) {
    for (;;) ::pause();
    return x;
}

int until_stopped(std::stop_token stop, int x) {
    while (!stop.stop_requested()) ::usleep(100);
    return x;
}

/// 0 when none comes within ten seconds.
char next_byte(int fd) {
    char byte = 0;
    if (!pf::base::wait_readable(fd, pf::base::monotonic::now() + 10s)) return 0;
    return ::read(fd, &byte, 1) == 1 ? byte : '\0';
}

}  // namespace

TEST_CASE("what expires waiting never starts") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto first = pool.submit(stuck_here, 1);
    std::vector<pf::future<int>> late;
    for (int i = 0; i < 3; ++i) {
        late.push_back(pool.with({.deadline = steady_clock::now() + 20ms}).submit(twice, i));
    }
    auto patient = pool.with({.deadline = steady_clock::now() + 1h}).submit(twice, 21);
    for (auto& each : late) {
        REQUIRE_THROWS_AS(each.get_for(10s), pf::task_expired);
    }
    CHECK(pool.stats().expired == 3);
    first.cancel();
    CHECK(patient.get_for(10s) == 42);
    CHECK(pool.stats().timeouts == 0);
}

TEST_CASE("a deadline that has passed at submission is one that expired, inline too") {
    for (const unsigned workers : {1u, pf::inline_workers}) {
        pf::pool pool{{.workers = workers}};
        auto late =
            pool.with({.deadline = steady_clock::now() - 1s, .label = "x"}).submit(twice, 1);
        REQUIRE_THROWS_WITH(late.get_for(10s), "the task 'x' was not started before its deadline");
        CHECK(pool.submit(twice, 4).get_for(10s) == 8);
    }
}

TEST_CASE(
    "a task that runs past its deadline ends with task_timeout, and only its worker with it") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .grace = 1ms}};
    auto late = pool.with({.deadline = steady_clock::now() + 50ms}).submit(stuck_here, 1);
    try {
        late.get_for(10s);
        FAIL("no error");
    } catch (const pf::task_timeout& e) {
        CHECK_THAT(e.what(), pf::test::containing("ran past its deadline"));
        CHECK_THAT(e.stack_trace(), pf::test::containing("stuck_here"));
    }
    CHECK(pool.submit(twice, 4).get_for(10s) == 8);
    CHECK(pool.stats().timeouts == 1);
}

TEST_CASE("a timeout says where the task hung, and names it") {
    pf::pool pool{{.workers = 1, .grace = 1ms}};
    auto late = pool.with({.timeout = 20ms, .label = "GET /users"}).submit(stuck_here, 1);
    try {
        late.get_for(10s);
        FAIL("no error");
    } catch (const pf::task_timeout& e) {
        CHECK_THAT(e.what(), pf::test::containing(
                                 "task 0 'GET /users' ran for longer than its timeout of 20 ms"));
        CHECK_THAT(e.stack_trace(), pf::test::containing("stuck_here"));
        const pf::task_timeout copy = e;
        CHECK(copy.stack_trace() == e.stack_trace());
    }
}

TEST_CASE("a worker that can't say where it is doesn't hold up the answer") {
    pf::pool pool{{.workers = 1, .grace = 1ms}};
    const auto deaf = [] {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_BLOCK, &all, nullptr);
        return stuck_here(1);
    };
    try {
        pool.with({.timeout = 20ms}).submit(deaf).get_for(10s);
        FAIL("no error");
    } catch (const pf::task_timeout& e) {
        CHECK(e.stack_trace().empty());
    }
    CHECK(pool.submit(twice, 4).get_for(10s) == 8);
}

TEST_CASE("a task that takes a stop token is asked first, and its worker lives on") {
    pf::pool pool{{.workers = 1, .grace = 10s}};
    const int worker = pool.stats().workers.at(0).pid;
    auto late = pool.with({.timeout = 10ms}).submit(until_stopped, 5);
    REQUIRE_THROWS_AS(late.get_for(10s), pf::task_timeout);
    CHECK(pool.submit(twice, 4).get_for(10s) == 8);
    auto given_up = pool.submit(until_stopped, 6);
    REQUIRE(pf::test::until([&] { return given_up.cancel(); }));
    REQUIRE_THROWS_AS(given_up.get_for(10s), pf::cancelled);
    CHECK(pool.submit(twice, 5).get_for(10s) == 10);
    CHECK(pool.stats().workers.at(0).pid == worker);
    CHECK(pool.stats().lost_workers == 0);
}

TEST_CASE(
    "a generic task and one by reference get their token too, and this_worker says the same") {
    pf::pool pool{{.workers = 1, .grace = 10s}};
    const auto generic = [](std::stop_token stop, auto x) {
        while (!stop.stop_requested()) ::usleep(100);
        return x;
    };
    const auto by_reference = [](const std::stop_token& stop) {
        while (!stop.stop_requested()) ::usleep(100);
    };
    const auto asks = [] {
        while (!pf::this_worker::stop_requested()) ::usleep(100);
    };
    REQUIRE_THROWS_AS(pool.with({.timeout = 5ms}).submit(generic, 1.5).get_for(10s),
                      pf::task_timeout);
    REQUIRE_THROWS_AS(pool.with({.timeout = 5ms}).submit(by_reference).get_for(10s),
                      pf::task_timeout);
    REQUIRE_THROWS_AS(pool.with({.timeout = 5ms}).submit(asks).get_for(10s), pf::task_timeout);
    CHECK(pool.submit(twice, 5).get_for(10s) == 10);
    CHECK(pool.stats().lost_workers == 0);
}

TEST_CASE("shutdown asks what runs to stop, and doesn't kill what does") {
    const pf::test::leaks none_left;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    {
        pf::pool pool{{.workers = 1, .grace = 10s, .keep_fds = {ends[1]}}};
        auto running = pool.submit(
            [](std::stop_token stop, int fd) {
                static_cast<void>(!::write(fd, "b", 1));
                while (!stop.stop_requested()) ::usleep(100);
                static_cast<void>(!::write(fd, "e", 1));
            },
            ends[1]);
        REQUIRE(next_byte(ends[0]) == 'b');
        CHECK_FALSE(pool.shutdown(1ms));
        REQUIRE_THROWS_AS(running.get(), pf::cancelled);
    }
    CHECK(next_byte(ends[0]) == 'e');
    for (const int fd : ends) ::close(fd);
}

TEST_CASE("a task that began, was lost, and waits past its deadline is late: it did not expire") {
    const pf::test::leaks none_left;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    int go[2];
    REQUIRE(::pipe(go) == 0);
    {
        pf::pool pool{{.workers = 1, .keep_fds = {ends[1], go[0]}, .name = "render"}};
        const auto dies = [](int told, int waits) {
            static_cast<void>(!::write(told, "b", 1));
            static_cast<void>(next_byte(waits));
            ::raise(SIGKILL);
        };
        auto late = pool.with({.deadline = steady_clock::now() + 3s, .retries = 1})
                        .submit(dies, ends[1], go[0]);
        REQUIRE(next_byte(ends[0]) == 'b');
        pool.pause();  // so that nobody begins its second run
        REQUIRE(::write(go[1], "g", 1) == 1);
        REQUIRE_THROWS_WITH(late.get_for(20s),
                            "task 0 of pool 'render' was not run again before its deadline: its "
                            "worker was lost in attempt 1");
        CHECK(pool.stats().expired == 0);
        CHECK(pool.stats().timeouts == 1);
        pool.resume();
        CHECK(pool.submit(twice, 4).get_for(20s) == 8);
    }
    for (const int fd : {ends[0], ends[1], go[0], go[1]}) ::close(fd);
}

TEST_CASE("extend() prolongs the running task's timeout, and no other's") {
    pf::pool pool{{.workers = 1, .grace = 1ms}};
    const auto prolonged = [] {
        pf::this_worker::extend(1h);
        const auto end = steady_clock::now() + 60ms;
        while (steady_clock::now() < end) ::usleep(500);
        return 7;
    };
    CHECK(pool.with({.timeout = 20ms}).submit(prolonged).get_for(10s) == 7);
    REQUIRE_THROWS_AS(pool.with({.timeout = 20ms}).submit(stuck_here, 1).get_for(10s),
                      pf::task_timeout);
}

TEST_CASE("a wait ends when its stop token says so, and the task goes on") {
    pf::pool pool{{.workers = 1}};
    auto running = pool.submit(until_stopped, 1);
    std::stop_source source;
    std::thread stopper{[&] { source.request_stop(); }};
    CHECK_FALSE(running.wait(source.get_token()));
    stopper.join();
    CHECK_FALSE(running.wait_for(10s, source.get_token()));
    CHECK_FALSE(running.ready());
    CHECK_FALSE(running.wait_for(1ms, std::stop_token{}));
    running.cancel();
    CHECK(running.wait(source.get_token()));  // ended: no reason to look at the token
}

TEST_CASE("a label of more than 200 bytes is refused, with its size") {
    for (const unsigned workers : {1u, pf::inline_workers}) {
        pf::pool pool{{.workers = workers}};
        const std::string label(1 << 20, 'x');
        REQUIRE_THROWS_WITH(pool.with({.label = label}).submit(twice, 1),
                            "prefork::task_options::label has 1048576 bytes: at most 200");
        CHECK(pool.with({.label = std::string(200, 'x')}).submit(twice, 1).get() == 2);
    }
}

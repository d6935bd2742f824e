#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>

#include "base/fail_point.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

// design.md §6, "fork server dies": nothing, if the host can make another; else pool_broken.

namespace pf = prefork;
using pf::base::fail_point;
using namespace std::chrono_literals;

namespace {

int twice(int x) { return 2 * x; }
pid_t parent_of_worker(pf::pool& pool) {
    return pool.submit([] { return ::getppid(); }).get();
}
bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0; }

}  // namespace

TEST_CASE("a fork server that is killed is replaced, and the pool goes on") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .retries = 1}};
    const pid_t server = parent_of_worker(pool);
    REQUIRE(server != ::getpid());
    REQUIRE(::kill(server, SIGKILL) == 0);
    REQUIRE(pf::test::until([&] { return pool.stats().lost_workers == 2; }));
    for (int i = 0; i < 100; ++i) REQUIRE(pool.submit(twice, i).get_for(20s) == 2 * i);
    CHECK(parent_of_worker(pool) != server);
}

TEST_CASE(
    "a pool that can make no other fork server is broken: waiting tasks end, new ones are "
    "refused") {
    const pf::test::leaks none_left;
    static int ends[2];
    REQUIRE(::pipe(ends) == 0);
    pf::pool pool{{.workers = 1, .keep_fds = {ends[1]}}};
    const pid_t server = parent_of_worker(pool);
    auto stuck = pool.submit([] {
        static_cast<void>(!::write(ends[1], "x", 1));
        for (;;) ::pause();
        return 0;
    });
    char begun = 0;
    REQUIRE(::read(ends[0], &begun, 1) == 1);  // or it would be waiting, not running
    auto waiting = pool.submit(twice, 1);
    fail_point::arm("fork_server.socketpair", fail_point::action::fail, 1, 1000, EMFILE);
    REQUIRE(::kill(server, SIGKILL) == 0);
    REQUIRE_THROWS_AS(stuck.get_for(20s), pf::worker_lost);
    REQUIRE_THROWS_AS(waiting.get_for(20s), pf::pool_broken);
    REQUIRE(pf::test::until([&] { return !pool.healthy(); }));
    REQUIRE_THROWS_AS(pool.submit(twice, 2), pf::pool_broken);
    fail_point::disarm();
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("workers that can't be forked any more break the pool, visibly and without a hang") {
    const pf::test::leaks none_left;
    fail_point::arm("server.fork", fail_point::action::fail, 2, 1000, EAGAIN);
    pf::pool pool{{.workers = 1}};
    auto lost = pool.submit([] { return ::raise(SIGKILL); });
    REQUIRE_THROWS_AS(lost.get_for(20s), pf::worker_lost);
    auto next = pf::future<int>{};
    try {
        next = pool.submit(twice, 1);
        REQUIRE_THROWS_AS(next.get_for(20s), pf::pool_broken);
    } catch (const pf::pool_broken&) {
    }
    CHECK_FALSE(pool.healthy());
    fail_point::disarm();
}

TEST_CASE("a fork server that can't be replaced at once is replaced a little later") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    const pid_t server = parent_of_worker(pool);
    fail_point::arm("fork_server.socketpair", fail_point::action::fail, 1, 2, EMFILE);
    REQUIRE(::kill(server, SIGKILL) == 0);
    REQUIRE(pf::test::until([&] { return pool.stats().lost_workers == 1; }));
    CHECK(pool.submit(twice, 21).get_for(20s) == 42);
    CHECK(fail_point::hits() == 3);
    fail_point::disarm();
}

TEST_CASE("a worker's death is heard of while the fork server is stopped") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    const pid_t server = parent_of_worker(pool);
    REQUIRE(::kill(server, SIGSTOP) == 0);
    auto lost = pool.submit([] { return ::raise(SIGKILL); });
    CHECK_THROWS_AS(lost.get_for(20s), pf::worker_lost);
    REQUIRE(::kill(server, SIGCONT) == 0);
    CHECK(pool.submit(twice, 21).get_for(20s) == 42);
    CHECK(pool.stats().lost_workers == 1);  // told twice, and settled once
    CHECK(parent_of_worker(pool) == server);
}

TEST_CASE("a stopped fork server that leaves the pool without a worker is replaced") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .worker_start_timeout = 500ms}};
    const pid_t server = parent_of_worker(pool);
    REQUIRE(::kill(server, SIGSTOP) == 0);
    for (int deaths = 0; deaths < 3; ++deaths) {  // the spare's too, if it was there already
        auto lost = pool.with({.retries = 0}).submit([] { return ::raise(SIGKILL); });
        CHECK_THROWS_AS(lost.get_for(20s), pf::worker_lost);
    }
    CHECK(pool.submit(twice, 21).get_for(20s) == 42);
    CHECK(parent_of_worker(pool) != server);
}

TEST_CASE("when the host is killed, every process of the pool is gone") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t host = ::fork();
    if (host == 0) {
        pf::pool pool{{.workers = 2}};
        const pid_t pids[] = {parent_of_worker(pool), pool.stats().workers.at(0).pid,
                              pool.stats().workers.at(1).pid};
        static_cast<void>(!::write(ends[1], pids, sizeof pids));
        for (;;) ::pause();
    }
    pid_t pids[3] = {};
    REQUIRE(::read(ends[0], pids, sizeof pids) == sizeof pids);
    ::kill(host, SIGKILL);
    REQUIRE(::waitpid(host, nullptr, 0) == host);
    for (const pid_t pid : pids) {
        CAPTURE(pid);
        CHECK(pf::test::until([&] { return is_gone(pid); }));
    }
    ::close(ends[0]);
    ::close(ends[1]);
}

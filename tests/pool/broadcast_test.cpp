#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/inline_mode.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::until;

namespace {

std::string loaded;
int loads = 0;
void load(const std::string& name) {
    loaded = name;
    ++loads;
}
std::string what_is_loaded() { return loaded + " " + std::to_string(loads); }

}  // namespace

TEST_CASE("a broadcast is run once by every worker, present and future, before its next task") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 3, .max_tasks_per_worker = 20}};
    loads = 0;
    pool.broadcast(load, "first");
    for (int i = 0; i < 100; ++i) CHECK(pool.submit(what_is_loaded).get() == "first 1");
    pool.broadcast(load, std::string(1000, 'x'));
    for (int i = 0; i < 100; ++i) {
        CHECK(pool.submit(what_is_loaded).get() == std::string(1000, 'x') + " 2");
    }
    if (!pf::test::inline_mode()) {
        for (const auto& each : pool.stats().workers) ::kill(each.pid, SIGKILL);
    }
    for (int i = 0; i < 20; ++i) {
        CHECK(pool.submit(what_is_loaded).get_for(10s) == std::string(1000, 'x') + " 2");
    }
    loads = 0;
}

TEST_CASE("what a broadcast throws in a worker is thrown to its caller") {
    pf::pool pool{{.workers = 2}};
    CHECK_THROWS_AS(pool.broadcast([] { throw std::out_of_range("in all of them"); }),
                    std::out_of_range);
    CHECK_THROWS_WITH(pool.broadcast([] { throw std::runtime_error("again"); }), "again");
    CHECK(pool.submit([] { return 7; }).get() == 7);
}

TEST_CASE("a broadcast waits for a worker that is busy, and hangs nobody who isn't") {
    if (pf::test::left_out_inline("a task without end")) return;
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .timeout = 200ms, .grace = 0ms}};
    auto stuck = pool.submit([] { ::pause(); });
    pool.broadcast(load, "late");
    CHECK_THROWS_AS(stuck.get_for(10s), pf::task_timeout);
    CHECK(pool.submit(what_is_loaded).get_for(10s) == "late 1");
}

TEST_CASE("a broadcast that hangs ends its workers, and is told") {
    if (pf::test::left_out_inline("a task without end")) return;
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .worker_start_timeout = 300ms}};
    CHECK_THROWS_AS(pool.broadcast([] { ::pause(); }), pf::task_timeout);
}

TEST_CASE("a broadcast ends an idle worker that is stopped, and doesn't wait for it for ever") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .worker_start_timeout = 1s}};
    REQUIRE(::kill(pool.stats().workers.at(0).pid, SIGSTOP) == 0);
    CHECK_THROWS_AS(pool.broadcast(load, "first"), pf::task_timeout);
    REQUIRE(until([&] { return pool.stats().lost_workers == 1; }));
    for (int i = 0; i < 10; ++i) CHECK(pool.submit(what_is_loaded).get_for(20s) != "");
}

TEST_CASE("refreshed workers run earlier broadcasts too") {
    if (pf::test::left_out_inline("new workers")) return;
    loads = 0;
    pf::pool pool{{.workers = 2}};
    pool.broadcast(load, "kept");
    pool.refresh();
    for (int i = 0; i < 20; ++i) CHECK(pool.submit(what_is_loaded).get() == "kept 1");
}

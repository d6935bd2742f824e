#include <csignal>
#include <random>
#include <thread>
#include <vector>

#include "base/fail_point.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

// design.md §6, "worker dies while running it": at every named place, and at random instants.

namespace pf = prefork;
using pf::base::fail_point;
using namespace std::chrono_literals;

namespace {

long square(long x) { return x * x; }
std::string stretch(std::string text) { return text + text; }

/// Kills a worker of `pool` again and again, at whatever it is doing.
void kill_workers(pf::pool& pool, int kills, const std::atomic<bool>& stop) {
    std::minstd_rand random{42};
    for (int i = 0; i < kills && !stop; ++i) {
        const auto workers = pool.stats().workers;
        if (!workers.empty()) ::kill(workers[random() % workers.size()].pid, SIGKILL);
        const auto lost = pool.stats().lost_workers;
        static_cast<void>(
            pf::test::until([&] { return stop || pool.stats().lost_workers > lost; }, 100ms));
    }
}

}  // namespace

TEST_CASE("a worker that dies at any named place loses nothing when one more run is allowed") {
    for (const char* place :
         {"worker.claimed", "worker.started", "worker.before_commit", "commit.before_wake",
          "claim.before_look_behind", "wake.before_call"}) {
        for (const std::uint32_t at_hit : {1u, 2u, 7u}) {
            CAPTURE(place, at_hit);
            const pf::test::leaks none_left;
            // Armed after the pool is made would arm the host alone; before, the host counts too.
            fail_point::arm(place, fail_point::action::die, at_hit);
            if (std::string{place} == "wake.before_call") {
                fail_point::disarm();  // the host wakes too, and this is not its test
            }
            pf::pool pool{{.workers = 2, .retries = 1}};
            std::vector<pf::future<long>> results;
            for (long i = 0; i < 50; ++i) results.push_back(pool.submit(square, i));
            for (long i = 0; i < 50; ++i) {
                REQUIRE(results[static_cast<std::size_t>(i)].get_for(20s) == i * i);
            }
            fail_point::disarm();
        }
    }
}

TEST_CASE("workers killed at random instants under load lose no task, and no result is wrong") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .retries = 1000}};
    std::atomic<bool> stop{false};
    std::thread killer{[&] { kill_workers(pool, 150, stop); }};
    for (int round = 0; round < 60; ++round) {
        std::vector<pf::future<long>> small;
        std::vector<pf::future<std::string>> large;
        for (long i = 0; i < 200; ++i) small.push_back(pool.submit(square, i));
        for (std::size_t i = 0; i < 20; ++i)
            large.push_back(pool.submit(stretch, std::string(i * 100, 'x')));
        for (long i = 0; i < 200; ++i) {
            REQUIRE(small[static_cast<std::size_t>(i)].get_for(20s) == i * i);
        }
        for (std::size_t i = 0; i < 20; ++i) REQUIRE(large[i].get_for(20s).size() == i * 200);
    }
    stop = true;
    killer.join();
    CHECK(pool.stats().lost_workers > 0);
}

TEST_CASE(
    "without retries each task ends with its result or with worker_lost, and each only once") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    std::atomic<bool> stop{false};
    std::thread killer{[&] { kill_workers(pool, 60, stop); }};
    for (int round = 0; round < 20; ++round) {
        std::vector<pf::future<long>> results;
        for (long i = 0; i < 200; ++i) results.push_back(pool.submit(square, i));
        for (long i = 0; i < 200; ++i) {
            try {
                REQUIRE(results[static_cast<std::size_t>(i)].get_for(20s) == i * i);
            } catch (const pf::worker_lost& e) {
                REQUIRE(e.attempts() == 1);
                REQUIRE(e.killed_by() == pf::killer::stranger);
            }
        }
    }
    stop = true;
    killer.join();
}

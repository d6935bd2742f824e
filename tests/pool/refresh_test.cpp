#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/sanitizer.hpp"
#include "support/until.hpp"

// New workers while the pool goes on; and workers that wait.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::until;

namespace {

int twice(int x) { return 2 * x; }
int setting = 1;
int read_setting() { return setting; }
bool broken_hook = false;

std::set<int> pids_of(const pf::pool& pool) {
    std::set<int> pids;
    for (const auto& each : pool.stats().workers) pids.insert(each.pid);
    return pids;
}

}  // namespace

TEST_CASE("refreshed workers see the host as it is now, and the former ones are gone") {
    const pf::test::leaks none_left;
    setting = 1;
    pf::pool pool{{.workers = 2}};
    const std::set<int> before = pids_of(pool);
    CHECK(pool.submit(read_setting).get() == 1);
    for (int value = 2; value < 5; ++value) {
        setting = value;
        CHECK(pool.submit(read_setting).get() == value - 1);
        pool.refresh();
        for (int i = 0; i < 10; ++i) CHECK(pool.submit(read_setting).get() == value);
    }
    REQUIRE(until([&] { return pids_of(pool).size() == 2; }));
    for (const int pid : pids_of(pool)) CHECK(before.count(pid) == 0);
    for (const int pid : before) REQUIRE(until([&] { return ::kill(pid, 0) != 0; }));
    CHECK(pool.healthy());
    CHECK(pool.stats().lost_workers == 0);
}

TEST_CASE("refresh under load loses no task, refuses none and runs none twice") {
    if (pf::test::fork_loses_heap_locks()) return;
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    std::atomic<bool> stop{false};
    std::atomic<long> wrong{0};
    std::atomic<long> done{0};
    std::thread submitter{[&] {
        while (!stop) {
            std::vector<pf::future<int>> results;
            for (int i = 0; i < 200; ++i) results.push_back(pool.submit(twice, i));
            for (int i = 0; i < 200; ++i) {
                const auto got = results[static_cast<std::size_t>(i)].result();
                wrong += !got || *got != 2 * i;
                ++done;
            }
        }
    }};
    for (int i = 0; i < 5; ++i) {
        const long before = done;
        pool.refresh();
        CHECK(until([&] { return done > before + 400; }));
    }
    stop = true;
    submitter.join();
    CHECK(wrong == 0);
    const pf::pool_stats stats = pool.stats();
    CHECK(stats.completed == stats.submitted);
    CHECK(stats.lost_workers == 0);
}

TEST_CASE("a worker that is busy at a refresh ends its task, and leaves then") {
    int begun[2];
    REQUIRE(::pipe(begun) == 0);
    pf::pool pool{{.workers = 1, .grace = 10s, .keep_fds = {begun[1]}}};
    const auto until_stopped = [](std::stop_token stop, int told) {
        const pid_t self = ::getpid();
        static_cast<void>(!::write(told, &self, sizeof self));
        while (!stop.stop_requested()) ::usleep(100);
    };
    auto running = pool.submit(until_stopped, begun[1]);
    pid_t former = 0;
    REQUIRE(::read(begun[0], &former, sizeof former) == sizeof former);
    pool.refresh();
    CHECK(pool.submit(twice, 4).get_for(10s) == 8);  // by the new one
    CHECK_FALSE(running.ready());
    running.cancel();
    REQUIRE(until([&] { return ::kill(former, 0) != 0; }));
    CHECK(pool.submit(twice, 5).get_for(10s) == 10);
    for (const int fd : begun) ::close(fd);
}

TEST_CASE("when new workers can't start, refresh says why and the former ones go on") {
    const pf::test::leaks none_left;
    broken_hook = false;
    pf::pool pool{{.workers = 2, .on_worker_start = [] {
                       if (broken_hook) throw std::runtime_error("no database");
                   }}};
    const std::set<int> before = pids_of(pool);
    broken_hook = true;
    REQUIRE_THROWS_WITH(pool.refresh(),
                        "pool 'prefork': refresh: on_worker_start threw: no database");
    CHECK(pool.submit(twice, 4).get_for(10s) == 8);
    REQUIRE(until([&] { return pids_of(pool) == before; }));
    broken_hook = false;
    pool.refresh();
    CHECK(pool.submit(twice, 5).get_for(10s) == 10);
    // The spare and replacements come from the new image, with its hook.
    for (const int pid : pids_of(pool)) ::kill(pid, SIGKILL);
    CHECK(pool.submit(twice, 6).get_for(10s) == 12);
}

TEST_CASE("a worker that is killed after a refresh is replaced from the new image") {
    pf::pool pool{{.workers = 1}};
    setting = 1;
    pool.refresh();
    setting = 99;
    REQUIRE(until([&] { return pids_of(pool).size() == 1; }));
    const int worker = *pids_of(pool).begin();
    ::kill(worker, SIGKILL);
    REQUIRE(until([&] { return pids_of(pool).count(worker) == 0 && pids_of(pool).size() == 1; }));
    CHECK(pool.submit(read_setting).get_for(10s) == 1);
}

TEST_CASE("paused workers begin nothing, tasks are taken all the same, and run after resume") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    CHECK(pool.submit(twice, 1).get() == 2);
    pool.pause();
    std::vector<pf::future<int>> waiting;
    for (int i = 0; i < 20; ++i) waiting.push_back(pool.submit(twice, i));
    // Both may each have been about to claim one.
    CHECK_FALSE(waiting.back().wait_for(50ms));
    pool.resume();
    for (int i = 0; i < 20; ++i) {
        CHECK(waiting[static_cast<std::size_t>(i)].get_for(10s) == 2 * i);
    }
    pool.pause();
    auto never = pool.submit(twice, 1);
    pool.shutdown(1ms);
    REQUIRE_THROWS_AS(never.get(), pf::cancelled);
}

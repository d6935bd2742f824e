#include "prefork/pool.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/inline_mode.hpp"
#include "support/leaks.hpp"
#include "support/log_lines.hpp"
#include "support/until.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

int twice(int x) { return 2 * x; }
int forever() {
    for (;;) ::pause();
}

}  // namespace

TEST_CASE("a pool leaves nothing behind, used or not, busy or idle") {
    if (pf::test::left_out_inline("a task without end")) return;
    for (const unsigned workers : {1u, 3u}) {
        const pf::test::leaks none_left;
        { const pf::pool unused{{.workers = workers}}; }
        {
            pf::pool busy{{.workers = workers, .grace = 0ms}};
            auto first = busy.submit(forever);
            auto second = busy.submit(forever);
        }
        pf::pool idle{{.workers = workers}};
        CHECK(idle.submit(twice, 1).get() == 2);
    }
}

TEST_CASE("a future outlives its pool, with the result that was there or cancelled") {
    if (pf::test::left_out_inline("a task without end")) return;
    const pf::test::leaks none_left;
    pf::future<std::string> large;
    pf::future<int> small;
    pf::future<int> never;
    {
        pf::pool pool{{.workers = 1}};
        large = pool.submit([](std::size_t n) { return std::string(n, 'x'); }, 100'000);
        small = pool.submit(twice, 21);
        small.wait();
        never = pool.submit(forever);
    }
    CHECK(large.get() == std::string(100'000, 'x'));
    CHECK(small.get() == 42);
    REQUIRE_THROWS_AS(never.get(), pf::cancelled);
}

TEST_CASE("shutdown refuses new tasks, ends the old ones, and says whether it had to") {
    pf::pool pool{{.workers = 1}};
    auto done = pool.submit(twice, 2);
    CHECK(pool.shutdown(10s));
    CHECK(done.get() == 4);
    REQUIRE_THROWS_AS(pool.submit(twice, 1), pf::pool_closed);

    if (pf::test::inline_mode()) return;  // a task without end
    pf::pool stuck{{.workers = 1, .grace = 0ms}};
    auto never = stuck.submit(forever);
    CHECK_FALSE(stuck.shutdown(50ms));
    REQUIRE_THROWS_AS(never.get(), pf::cancelled);
}

TEST_CASE("a task of a pool that was shut down isn't run, not even by a shut gate") {
    if (pf::test::inline_mode()) return;
    pf::pool pool{{.workers = 1, .max_load_average = 0}};
    CHECK(pool.shutdown(10s));
    static int runs = 0;
    REQUIRE_THROWS_AS(pool.map(std::vector{1, 2}, [](int) { return ++runs; }), pf::pool_closed);
    pf::task_group<int> group{pool};
    REQUIRE_THROWS_AS(group.run([] { return ++runs; }), pf::pool_closed);
    CHECK(runs == 0);
}

TEST_CASE("an exit hook that doesn't end is ended after the bound and the grace") {
    if (pf::test::left_out_inline("hooks of workers")) return;
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .grace = 50ms, .on_worker_exit = [] { ::pause(); }}};
    CHECK(pool.submit(twice, 1).get() == 2);
    const auto began = std::chrono::steady_clock::now();
    CHECK_FALSE(pool.shutdown(100ms));
    CHECK(std::chrono::steady_clock::now() - began < 800ms);
}

TEST_CASE("a pool whose workers are recycled is healthy all the time") {
    if (pf::test::left_out_inline("workers to be recycled")) return;
    pf::pool pool{{.workers = 2, .max_tasks_per_worker = 1}};
    for (int i = 0; i < 20; ++i) {
        CHECK(pool.submit(twice, i).get() == 2 * i);
        CHECK(pool.healthy());
    }
}

TEST_CASE("a pool outlives an outage of its start hook, and says that it has one") {
    if (pf::test::left_out_inline("hooks of workers")) return;
    const pf::test::leaks none_left;
    auto* const down = static_cast<std::atomic<bool>*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    REQUIRE(down != MAP_FAILED);
    pf::pool pool{{.workers = 1, .on_worker_start = [down] {
                       if (*down) throw std::runtime_error("no database");
                   }}};
    SECTION("short: tasks wait") {
        *down = true;
        REQUIRE_THROWS_AS(pool.submit([] { ::raise(SIGKILL); }).get(), pf::worker_lost);
        auto waiting = pool.submit(twice, 1);
        CHECK(pf::test::until([&] { return !pool.healthy(); }));
        std::this_thread::sleep_for(400ms);
        CHECK_FALSE(pool.healthy());
        *down = false;
        CHECK(waiting.get_for(10s) == 2);
        CHECK(pf::test::until([&] { return pool.healthy(); }));
    }
    SECTION("long: they fail, and the pool comes back") {
        *down = true;
        REQUIRE_THROWS_AS(pool.submit([] { ::raise(SIGKILL); }).get(), pf::worker_lost);
        auto waiting = pool.submit(twice, 1);
        REQUIRE_THROWS_WITH(waiting.get_for(20s), pf::test::containing("no database"));
        REQUIRE_THROWS_AS(pool.submit(twice, 1), pf::pool_broken);
        CHECK_FALSE(pool.healthy());
        *down = false;
        REQUIRE(pf::test::until([&] { return pool.healthy(); }));
        CHECK(pool.submit(twice, 2).get_for(10s) == 4);
    }
    ::munmap(down, 4096);
}

TEST_CASE("drain waits for every task, with and without a future") {
    pf::pool pool{{.workers = 2}};
    for (int i = 0; i < 1000; ++i) static_cast<void>(pool.submit(twice, i));
    pool.drain();
    CHECK(pool.stats().completed == 1000);
}

TEST_CASE(
    "a start hook runs in each worker before its first task, an exit hook when it leaves in "
    "peace") {
    if (pf::test::left_out_inline("hooks of workers")) return;
    static int opened = 0;
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    static int exit_fd = -1;
    exit_fd = pipe_ends[1];
    {
        pf::pool pool{{.workers = 2,
                       .on_worker_start = [] { opened = 7; },
                       .on_worker_exit = [] { static_cast<void>(!::write(exit_fd, "x", 1)); },
                       .keep_fds = {pipe_ends[1]}}};
        CHECK(pool.submit([] { return opened; }).get() == 7);
        CHECK(opened == 0);
    }
    ::close(pipe_ends[1]);
    char bytes[8];
    CHECK(::read(pipe_ends[0], bytes, sizeof bytes) == 2);
    ::close(pipe_ends[0]);
}

TEST_CASE("a start hook that throws, exits or hangs is told by the constructor") {
    if (pf::test::left_out_inline("hooks of workers")) return;
    const pf::test::leaks none_left;
    REQUIRE_THROWS_WITH(
        pf::pool(
            {.workers = 2, .on_worker_start = [] { throw std::runtime_error("no database"); }}),
        "pool 'prefork': on_worker_start threw: no database");
    REQUIRE_THROWS_WITH(pf::pool({.workers = 1, .on_worker_start = [] { ::_exit(3); }}),
                        "pool 'prefork': worker 0 ended before it had started: exit status 3");
    REQUIRE_THROWS_WITH(pf::pool({.workers = 1, .on_worker_start = [] { ::raise(SIGKILL); }}),
                        "pool 'prefork': worker 0 ended before it had started: SIGKILL");
    REQUIRE_THROWS_WITH(pf::pool({.workers = 1, .on_worker_start = [] { throw 3; }}),
                        "pool 'prefork': on_worker_start threw int");
    REQUIRE_THROWS_WITH(
        pf::pool(
            {.workers = 1, .on_worker_start = [] { ::pause(); }, .worker_start_timeout = 50ms}),
        "pool 'prefork': on_worker_start took longer than worker_start_timeout");
}

// The address sanitizer ends a process that is out of memory instead of throwing bad_alloc.
#ifndef __SANITIZE_ADDRESS__
TEST_CASE("a worker whose start hook takes more than its memory limit is refused") {
    if (pf::test::left_out_inline("hooks of workers")) return;
    const pf::test::leaks none_left;
    static std::vector<char> held;
    const auto take = [](std::size_t bytes) { return [bytes] { held.assign(bytes, 'x'); }; };
    REQUIRE_THROWS_WITH(
        pf::pool(
            {.workers = 1, .worker_memory_limit = 16u << 20, .on_worker_start = take(32u << 20)}),
        "pool 'prefork': on_worker_start threw: std::bad_alloc");
    const auto take_all_the_same = [] {
        const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
        ::setrlimit(RLIMIT_DATA, &none);
        held.assign(32u << 20, 'x');
    };
    REQUIRE_THROWS_WITH(
        pf::pool(
            {.workers = 1, .worker_memory_limit = 16u << 20, .on_worker_start = take_all_the_same}),
        pf::test::containing("more than the worker_memory_limit of 16777216"));
    const pf::pool content{
        {.workers = 1, .worker_memory_limit = 64u << 20, .on_worker_start = take(8u << 20)}};
    CHECK(content.stats().workers.size() == 1);
}
#endif

namespace {

/// The process of that name, once there is exactly one; 0 if there never is.
pid_t process_named(const std::string& name) {
    std::vector<pid_t> found;
    const bool one = pf::test::until([&] {
        found.clear();
        for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
            const std::string comm = pf::base::read_small_file(entry.path() / "comm");
            if (comm == name + "\n") found.push_back(std::stoi(entry.path().filename()));
        }
        return found.size() == 1;
    });
    return one ? found.front() : 0;
}

}  // namespace

TEST_CASE("a worker that dies is replaced by the spare, which has run no hook before") {
    if (pf::test::left_out_inline("a worker that dies")) return;
    const pf::test::leaks none_left;
    static int hooks = 0;
    hooks = 0;
    const std::string name = "sp" + std::to_string(::getpid() % 100'000);
    pf::pool pool{{.workers = 1, .on_worker_start = [] { ++hooks; }, .name = name}};
    for (int round = 0; round < 3; ++round) {
        const pid_t spare = process_named(name + "/spare");
        REQUIRE(spare != 0);
        ::kill(process_named(name + "/0"), SIGKILL);
        REQUIRE(pf::test::until([&] {
            const auto workers = pool.stats().workers;
            return workers.size() == 1 && workers[0].pid == spare;
        }));
        CHECK(pool.submit([] { return hooks; }).get_for(10s) == 1);
        CHECK(pool.submit([] { return pf::this_worker::index(); }).get_for(10s) == 0);
    }
    CHECK(pool.healthy());
}

TEST_CASE("a worker_local is made once in each worker and kept") {
    struct counter {
        int value = 0;
    };
    static pf::worker_local<counter> local{[] { return counter{}; }};
    pf::pool pool{{.workers = 1}};
    const auto next = [] { return ++local->value; };
    for (int i = 1; i <= 5; ++i) CHECK(pool.submit(next).get() == i);
    if (!pf::test::inline_mode()) CHECK(local->value == 0);  // the host's own
}

TEST_CASE("a process that the user forks is told that the pool isn't its own") {
    pf::pool pool{{.workers = 1}};
    CHECK(pool.submit(twice, 1).get() == 2);
    const pid_t child = ::fork();
    if (child == 0) {
        int status = 1;
        try {
            static_cast<void>(pool.submit(twice, 1));
        } catch (const pf::wrong_process&) {
            status = 0;
        }
        ::_exit(status);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(pool.submit(twice, 2).get() == 4);
}

TEST_CASE(
    "what the user's fork destroys, asks and waits for in the child, the parent doesn't notice") {
    const pf::test::leaks none_left;
    auto pool = std::make_unique<pf::pool>(pf::pool_options{.workers = 1});
    auto array = pool->make_shared_array<int>(1000);
    auto large = pool->submit([](std::size_t n) { return std::string(n, 'x'); }, 100'000);
    auto other = pool->submit(twice, 21);
    pf::task_group<int> group{*pool};
    group.run(twice, 3);
    large.wait();
    const pid_t child = ::fork();
    if (child == 0) {
        int refused = 0;
        const auto refuses = [&](auto call) {
            try {
                call();
            } catch (const pf::wrong_process&) {
                ++refused;
            }
        };
        refuses([&] { static_cast<void>(large.ready()); });
        refuses([&] { large.wait(); });
        refuses([&] { large.wait_for(1ms); });
        refuses([&] { large.cancel(); });
        refuses([&] { static_cast<void>(large.get()); });
        refuses([&] { static_cast<void>(pool->submit(twice, 1)); });
        refuses([&] { static_cast<void>(pool->with({.retries = 1}).submit(twice, 1)); });
        refuses([&] { pool->map(std::vector<int>{1}, twice); });
        refuses([&] { pf::task_group<int>{*pool, {.max_load_average = 0.0}}.run(twice, 1); });
        refuses([&] { static_cast<void>(group.get()); });
        refuses([&] { static_cast<void>(pool->make_shared_array<int>(5)); });
        refuses([&] { pool->cancel_all(); });
        refuses([&] { pool->kill_all(); });
        refuses([&] { pool->drain(); });
        refuses([&] { static_cast<void>(pool->shutdown(1s)); });
        refuses([&] { static_cast<void>(pool->stats()); });
        refuses([&] { static_cast<void>(pool->healthy()); });
        refuses([&] { static_cast<void>(pool->describe()); });
        // What is made and moved here does nothing to the pool.
        pf::pool moved{std::move(*pool)};
        refuses([&] { static_cast<void>(moved.submit(twice, 1)); });
        { const auto dropped = std::move(other); }
        array = {};
        pool.reset();
        ::_exit(refused);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == 19);
    CHECK(large.get() == std::string(100'000, 'x'));
    CHECK(other.get() == 42);
    CHECK(group.get() == std::vector<int>{6});
    CHECK(array[999] == 0);
    CHECK(pool->submit(twice, 2).get_for(10s) == 4);
}

TEST_CASE("stats count what happened") {
    pf::pool pool{{.workers = 2}};
    for (int i = 0; i < 10; ++i) CHECK(pool.submit(twice, i).get() == 2 * i);
    REQUIRE_THROWS_AS(pool.submit([] { throw 1; }).get(), pf::task_error);
    const pf::pool_stats now = pool.stats();
    CHECK(now.submitted == 11);
    CHECK(now.completed == 10);
    CHECK(now.failed == 1);
    if (pf::test::inline_mode()) {
        CHECK(now.inlined == 11);
        CHECK(now.workers.empty());
    } else {
        CHECK(now.workers.size() == 2);
        CHECK(now.workers[0].completed + now.workers[1].completed == 10);
    }
    CHECK(now.run_time.max.count() > 0);
    CHECK(now.run_time.min <= now.run_time.mean);
    CHECK(now.run_time.mean <= now.run_time.max);
    CHECK(now.busy >= 0);
    CHECK(now.busy <= 1);
    CHECK(pool.healthy());
}

TEST_CASE("describe says how many workers there are and which limits were read") {
    if (pf::test::left_out_inline("workers to be described")) return;
    const pf::pool pool{{.workers = 3, .name = "render"}};
    const std::string text = pool.describe();
    CAPTURE(text);
    CHECK(text.find("pool 'render': 3 workers") == 0);
    CHECK(text.find("affinity mask of") != std::string::npos);
    CHECK(text.find("memory budget of") != std::string::npos);
    CHECK(text.find("  Linux ") != std::string::npos);
}

TEST_CASE("threads that run at the fork are named, in one line and in describe()") {
    if (pf::test::left_out_inline("a fork")) return;
    pf::test::log_lines lines;
    std::atomic<bool> stop{false};
    std::thread other{[&] { static_cast<void>(pf::test::until([&] { return stop.load(); })); }};
    std::thread another{[&] { static_cast<void>(pf::test::until([&] { return stop.load(); })); }};
    ::pthread_setname_np(other.native_handle(), "telemetry");
    ::pthread_setname_np(another.native_handle(), "db pool");
    {
        const pf::pool pool{{.workers = 1, .name = "render"}};
        const std::string expected =
            "other threads ran at the fork (telemetry, db pool): what they had locked stays locked "
            "in workers";
        CHECK(pool.describe().find(expected) != std::string::npos);
        REQUIRE(lines.size() == 1);
        CHECK(lines.all()[0].text == "pool 'render': 2 " + expected);
        CHECK(lines.all()[0].level == pf::level::warning);
    }
    stop = true;
    other.join();
    another.join();
    REQUIRE(pf::test::until([] { return pf::base::thread_count() == 1; }));
    const pf::pool first{{.workers = 1}};
    const pf::pool second{{.workers = 1}};  // the first one's monitor is not told
    CHECK(lines.size() == 1);
}

TEST_CASE("PREFORK_WORKERS=inline makes any pool sequential") {
    const bool so_already = pf::test::inline_mode();
    ::setenv("PREFORK_WORKERS", "inline", 1);
    {
        pf::pool pool{{.workers = 4}};
        CHECK(pool.submit([] { return ::getpid(); }).get() == ::getpid());
        CHECK(pool.stats().inlined == 1);
    }
    if (!so_already) ::unsetenv("PREFORK_WORKERS");
}

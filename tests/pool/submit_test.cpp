#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <future>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/inline_mode.hpp"
#include "support/leaks.hpp"
#include "support/process_family.hpp"
#include "support/until.hpp"

namespace pf = prefork;
namespace test = prefork::test;
using namespace std::chrono_literals;

namespace {

int add(int a, int b) { return a + b; }
std::string repeat(const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
}
std::size_t length(std::string_view text) { return text.size(); }
double sum(std::span<const double> values) {
    double total = 0;
    for (const double each : values) total += each;
    return total;
}
double same(double value) { return value; }
std::string echo(std::string text) { return text; }
enum class colour : short { red = 1, green = -2 };
colour other(colour c) { return c == colour::red ? colour::green : colour::red; }
struct point {
    int x;
    double y;
};
point mirror(point p) { return {-p.x, -p.y}; }
void nothing() {}
int with_default(int a, const std::vector<std::string>& names) {
    return a + static_cast<int>(names.size());
}
struct only_moves {
    explicit only_moves(int v) : value(v) {}
    only_moves(only_moves&&) = default;
    only_moves& operator=(only_moves&&) = default;
    int value;
};
only_moves make_only_moves(int v) { return only_moves{v}; }

}  // namespace

TEST_CASE("every kind of value comes back as it went, inline and in 1, 2 and 4 workers") {
    for (const unsigned workers : {pf::inline_workers, 1u, 2u, 4u}) {
        const test::leaks none_left;
        CAPTURE(workers);
        pf::pool pool{{.workers = workers}};
        CHECK(pool.submit(add, 40, 2).get() == 42);
        CHECK(pool.submit(repeat, "ab", 3).get() == "ababab");
        CHECK(pool.submit(length, "four").get() == 4);
        const std::vector<double> values{1, 2, 3.5};
        CHECK(pool.submit(sum, values).get() == 6.5);
        CHECK(pool.submit(other, colour::red).get() == colour::green);
        CHECK(pool.submit(mirror, point{3, 0.5}).get().x == -3);
        CHECK(pool.submit([](int x) { return x * 2; }, 21).get() == 42);
        CHECK(pool.submit([](auto x) { return x + 1; }, 1.5).get() == 2.5);
        CHECK(pool.submit(make_only_moves, 7).get().value == 7);
        CHECK(pool.submit(with_default, 1, std::vector<std::string>{"a", "bc"}).get() == 3);
        CHECK_NOTHROW(pool.submit(nothing).get());
        const double not_a_number = std::bit_cast<double>(0x7ff8'dead'beef'0001ull);
        CHECK(std::bit_cast<std::uint64_t>(pool.submit(same, not_a_number).get()) ==
              0x7ff8'dead'beef'0001ull);
        CHECK(std::signbit(pool.submit(same, -0.0).get()));
    }
}

TEST_CASE("payloads of every size up to beyond the inline limit come back") {
    const test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    for (std::size_t size = 0; size < 300; ++size) {
        std::string text(size, '\0');
        for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7);
        REQUIRE(pool.submit(echo, text).get() == text);
    }
    const std::string large(50u << 20, 'x');
    CHECK(pool.submit(echo, large).get() == large);
}

TEST_CASE("results come in the order of submission, whoever finishes first") {
    pf::pool pool{{.workers = 2}};
    std::vector<pf::future<int>> results;
    for (int i = 0; i < 20'000; ++i) results.push_back(pool.submit(add, i, 1));
    for (int i = 0; i < 20'000; ++i) REQUIRE(results[static_cast<std::size_t>(i)].get() == i + 1);
}

TEST_CASE("several threads submit to several pools at once") {
    const test::leaks none_left;
    pf::pool first{{.workers = 2}};
    pf::pool second{{.workers = 1}};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 2000; ++i) {
                wrong += (i % 2 == 0 ? first : second).submit(add, i, t).get() != i + t;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

TEST_CASE("what globals held when the pool was made is seen by tasks") {
    if (test::left_out_inline("a copy of the host's memory")) return;
    static int global = 0;
    global = 42;
    pf::pool pool{{.workers = 1}};
    global = 43;
    CHECK(pool.submit([] { return global; }).get() == 42);
}

TEST_CASE(
    "a task that uses its own pool runs what it submits itself, and doesn't wait for a worker") {
    static pf::pool* own = nullptr;
    pf::pool pool{{.workers = 1}};
    own = &pool;  // after the fork: workers don't see it
    if (!test::inline_mode()) CHECK(pool.submit([] { return own == nullptr; }).get());

    static pf::pool* outer = nullptr;
    alignas(pf::pool) static std::byte place[sizeof(pf::pool)];
    outer = reinterpret_cast<pf::pool*>(place);
    new (place) pf::pool{{.workers = 1}};
    CHECK(outer->submit([] { return outer->submit(add, 40, 2).get(); }).get() == 42);
    outer->~pool();
}

TEST_CASE("a pool made inside a task works, inline") {
    pf::pool pool{{.workers = 1}};
    const auto nested = [] {
        pf::pool inner{{.workers = 3}};
        return inner.submit(add, 1, 2).get();
    };
    CHECK(pool.submit(nested).get() == 3);
}

TEST_CASE("a full queue fails, runs inline or waits, as chosen") {
    const auto nap = [](int) {
        timespec time{0, 2'000'000};
        ::nanosleep(&time, nullptr);
        return 1;
    };
    if (test::left_out_inline("a queue, which nothing waits in here")) return;
    SECTION("fail") {
        pf::pool pool{{.workers = 1, .queue_limit = 4, .when_full = pf::overflow::fail}};
        std::vector<pf::future<int>> results;
        const auto fill = [&] {
            for (int i = 0; i < 100; ++i) results.push_back(pool.submit(nap, i));
        };
        REQUIRE_THROWS_WITH(fill(), "pool 'prefork': 4 tasks wait (queue_limit)");
        for (auto& result : results) CHECK(result.get() == 1);
    }
    SECTION("inline") {
        pf::pool pool{{.workers = 1, .queue_limit = 4, .when_full = pf::overflow::run_inline}};
        std::vector<pf::future<int>> results;
        for (int i = 0; i < 50; ++i) results.push_back(pool.submit(nap, i));
        for (auto& result : results) CHECK(result.get() == 1);
        CHECK(pool.stats().inlined > 0);
    }
    SECTION("wait") {
        pf::pool pool{{.workers = 1, .queue_limit = 4}};
        std::vector<pf::future<int>> results;
        for (int i = 0; i < 50; ++i) results.push_back(pool.submit(nap, i));
        for (auto& result : results) CHECK(result.get() == 1);
        CHECK(pool.stats().inlined == 0);
    }
}

TEST_CASE("a submitter that waits for room is woken for many tasks at once") {
    if (test::left_out_inline("a queue, which nothing waits in here")) return;
    pf::pool pool{{.workers = 1, .queue_limit = 100}};
    // Longer than a submission, so that the queue is full nearly always.
    const auto work = [] {
        const auto end = std::chrono::steady_clock::now() + 20us;
        while (std::chrono::steady_clock::now() < end) {
        }
    };
    rusage before{};
    rusage after{};
    std::vector<pf::future<void>> results;
    ::getrusage(RUSAGE_THREAD, &before);
    for (int i = 0; i < 2000; ++i) results.push_back(pool.submit(work));
    ::getrusage(RUSAGE_THREAD, &after);
    for (auto& each : results) each.get();
    // 2000 tasks, 25 at a time, and as often again for whatever else this thread has to wait for.
    CHECK(after.ru_nvcsw - before.ru_nvcsw <= 2 * 2000 / 25);
}

TEST_CASE("arguments and results beyond the memory budget are errors, and the pool goes on") {
    pf::pool pool{{.workers = 1, .memory_budget = 4u << 20}};
    REQUIRE_THROWS_AS(pool.submit(echo, std::string(5u << 20, 'x')), pf::payload_too_large);
    auto too_large = pool.submit([](int) { return std::string(8u << 20, 'y'); }, 1);
    REQUIRE_THROWS_AS(too_large.get(), pf::payload_too_large);
    CHECK(pool.submit(echo, std::string(1u << 20, 'z')).get().size() == 1u << 20);
}

TEST_CASE("a budget that many large arguments exceed together holds the submitter back") {
    pf::pool pool{{.workers = 1, .memory_budget = 8u << 20}};
    std::vector<pf::future<std::size_t>> results;
    for (int i = 0; i < 40; ++i) results.push_back(pool.submit(length, std::string(1u << 20, 'x')));
    for (auto& result : results) CHECK(result.get() == 1u << 20);
}

TEST_CASE("results that exceed the budget together wait until others are fetched") {
    const auto fill = [](int i) { return std::string(1u << 20, static_cast<char>('a' + i)); };
    for (const unsigned workers : {1u, 2u}) {
        const test::leaks none_left;
        pf::pool pool{{.workers = workers, .memory_budget = 8u << 20}};
        std::vector<pf::future<std::string>> results;
        for (int i = 0; i < 24; ++i) results.push_back(pool.submit(fill, i));
        for (int i = 0; i < 24; ++i) {
            CHECK(results[static_cast<std::size_t>(i)].get_for(20s) == fill(i));
        }
        const auto echoed = pool.map(std::vector<std::string>(24, fill(0)), echo);
        CHECK(echoed == std::vector<std::string>(24, fill(0)));
    }
}

TEST_CASE("results that nobody fetches make others fail, within a bounded time") {
    if (test::left_out_inline("a budget for all results together")) return;
    const test::leaks none_left;
    const auto fill = [](int) { return std::string(1u << 20, 'r'); };
    pf::pool pool{{.workers = 1, .memory_budget = 4u << 20, .when_full = pf::overflow::fail}};
    std::vector<pf::future<std::string>> results;
    for (int i = 0; i < 16; ++i) results.push_back(pool.submit(fill, i));
    pool.drain();
    int good = 0;
    for (auto& each : results) {
        try {
            good += each.get().size() == 1u << 20;
        } catch (const pf::payload_too_large& e) {
            CHECK_THAT(e.what(), test::containing("results that were not fetched"));
        }
    }
    CHECK(good >= 6);  // twice the budget, but for what headers take
    CHECK(good < 16);
    CHECK(pool.submit(fill, 1).get().size() == 1u << 20);
}

TEST_CASE("the smallest budgets have room for a small task and its result") {
    for (const std::uint64_t budget : {16u << 10, 64u << 10, 256u << 10}) {
        pf::pool pool{{.workers = 2, .memory_budget = budget}};
        for (int i = 0; i < 20; ++i)
            CHECK(pool.submit(echo, std::string(200, 'x')).get().size() == 200);
    }
}

TEST_CASE("pages that were used for arguments can be had for results, and the other way round") {
    pf::pool pool{{.workers = 1, .memory_budget = 1u << 20}};
    for (int i = 0; i < 10; ++i) {
        CHECK(
            pool.submit([](std::size_t n) { return std::string(n, 'x'); }, 900'000).get().size() ==
            900'000);
        CHECK(pool.submit(length, std::string(900'000, 'y')).get() == 900'000);
    }
}

TEST_CASE(
    "arguments wait for the pages of each worker's last result, though another dies meanwhile") {
    if (test::left_out_inline("workers that hold pages")) return;
    const test::leaks none_left;
    int both[2];
    REQUIRE(::pipe(both) == 0);
    int go[2];
    REQUIRE(::pipe(go) == 0);
    {
        pf::pool pool{{.workers = 2, .memory_budget = 1u << 20, .keep_fds = {both[1], go[0]}}};
        const auto fills = [](int told, int waits) {
            char byte = 0;
            static_cast<void>(!::write(told, "x", 1));
            static_cast<void>(!::read(waits, &byte, 1));
            return std::pair{::getpid(), std::string(250'000, 'r')};
        };
        auto one = pool.submit(fills, both[1], go[0]);
        auto other = pool.submit(fills, both[1], go[0]);
        char bytes[2];
        for (char& each : bytes) REQUIRE(::read(both[0], &each, 1) == 1);
        REQUIRE(::write(go[1], "gg", 2) == 2);
        const pid_t stopped = one.get_for(20s).first;
        const pid_t dies = other.get_for(20s).first;
        REQUIRE(::kill(stopped, SIGSTOP) == 0);
        REQUIRE(test::until([&] { return test::state_of(stopped) == 'T'; }));
        auto large = std::async(std::launch::async, [&] {
            return pool.submit(length, std::string(900'000, 'a')).get_for(20s);
        });
        REQUIRE(::kill(dies, SIGKILL) == 0);
        REQUIRE(test::until([&] {
            const auto workers = pool.stats().workers;
            return workers.size() == 2 && workers[0].pid != dies && workers[1].pid != dies;
        }));
        REQUIRE(::kill(stopped, SIGCONT) == 0);
        CHECK(large.get() == 900'000);
    }
    for (const int fd : {both[0], both[1], go[0], go[1]}) ::close(fd);
}

TEST_CASE("options that make no sense are refused, naming option, value and limit") {
    REQUIRE_THROWS_WITH(pf::pool({.workers = 256}),
                        "prefork::pool_options::workers is 256: at most 255, or inline_workers");
    REQUIRE_THROWS_WITH(
        pf::pool({.memory_budget = 100}),
        "prefork::pool_options::memory_budget is 100: at least a slot of 128 bytes, or 0");
    REQUIRE_THROWS_WITH(pf::pool({.queue_limit = 0}),
                        "prefork::pool_options::queue_limit is 0: 1 to 1000000");
    REQUIRE_THROWS_WITH(pf::pool({.timeout = -1ns}),
                        "prefork::pool_options::timeout is -1 ns: it can't be negative");
    REQUIRE_THROWS_AS(pf::pool({.max_load_average = -0.5}), std::invalid_argument);
    REQUIRE_THROWS_AS(pf::pool({.retries = 1001}), std::invalid_argument);
    REQUIRE_THROWS_AS(pf::pool({.grace = -1ms}), std::invalid_argument);
    REQUIRE_THROWS_AS(pf::pool({.worker_start_timeout = 0s}), std::invalid_argument);
    REQUIRE_THROWS_AS(pf::pool({.keep_fds = {-1}}), std::invalid_argument);
    pf::pool pool{{.workers = 1}};
    REQUIRE_THROWS_WITH(pool.with({.timeout = -1ms}),
                        "prefork::task_options::timeout is -1000000 ns: it can't be negative");
    REQUIRE_THROWS_WITH(pool.with({.retries = 1001}),
                        "prefork::task_options::retries is 1001: at most 1000");
    REQUIRE_THROWS_WITH(pf::pool({.when_full = static_cast<pf::overflow>(9)}),
                        "prefork::pool_options::when_full is 9: no such value");
    REQUIRE_THROWS_WITH(pf::pool({.idle = static_cast<pf::idle>(9)}),
                        "prefork::pool_options::idle is 9: no such value");
}

TEST_CASE("of tasks that wait, those of high priority start first and those of low last") {
    if (test::left_out_inline("a task without end")) return;
    const test::leaks none_left;
    auto* const order = static_cast<std::atomic<int>*>(
        ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    *order = -1;
    auto running = pool.submit([count = order] {
        *count = 0;
        ::pause();
    });
    REQUIRE(test::until([&] { return *order == 0; }));
    const auto send = [&](pf::priority as) {
        return pool.with({.priority = as}).submit([count = order] { return count->fetch_add(1); });
    };
    std::vector<pf::future<int>> low;
    std::vector<pf::future<int>> normal;
    std::vector<pf::future<int>> high;
    for (int i = 0; i < 20; ++i) {
        low.push_back(send(pf::priority::low));
        normal.push_back(send(pf::priority::normal));
        high.push_back(send(pf::priority::high));
    }
    running.cancel();
    for (int i = 0; i < 20; ++i) {
        const auto at = static_cast<std::size_t>(i);
        CHECK(high[at].get_for(10s) == i);
        CHECK(normal[at].get_for(10s) == 20 + i);
        CHECK(low[at].get_for(10s) == 40 + i);
    }
}

TEST_CASE("tasks are counted and timed by their label, and shown by it") {
    pf::pool pool{{.workers = 2}};
    const auto users = pool.with({.label = "GET /users"});
    const auto orders = pool.with({.label = "GET /orders"});
    for (int i = 0; i < 10; ++i) CHECK(users.submit(add, i, 1).get() == i + 1);
    CHECK_THROWS(orders.submit([] { throw 1; }).get());
    static_cast<void>(pool.submit(add, 1, 1).get());
    const auto labels = pool.stats().labels;
    REQUIRE(labels.size() == 2);
    CHECK(labels.at("GET /users").completed == 10);
    CHECK(labels.at("GET /users").failed == 0);
    CHECK(labels.at("GET /users").run_time.max >= labels.at("GET /users").run_time.min);
    CHECK(labels.at("GET /users").run_time.max > 0ns);
    CHECK(labels.at("GET /orders").failed == 1);
    if (test::inline_mode()) return;
    const auto own_name = [] { return prefork::base::read_small_file("/proc/self/comm"); };
    CHECK(pool.with({.label = "GET /a/long/path"}).submit(own_name).get() == "GET /a/long/pat\n");
    CHECK(pool.submit(own_name).get().rfind("prefork/", 0) == 0);
}

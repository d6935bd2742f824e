#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <list>
#include <map>
#include <numeric>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/inline_mode.hpp"
#include "support/leaks.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

std::vector<int> numbers(int first, int last) {
    std::vector<int> all(static_cast<std::size_t>(last - first));
    std::iota(all.begin(), all.end(), first);
    return all;
}

int twice(int x) { return 2 * x; }
int fail_at_7(int x) {
    if (x == 7) throw std::out_of_range("item 7");
    return x;
}

/// What /proc/loadavg is to this process while it lives.
class load_is {
  public:
    explicit load_is(const char* load) {
        std::ofstream{path_} << load << " 0.00 0.00 1/100 1\n";
        ::setenv("PREFORK_LOADAVG_FILE", path_.c_str(), 1);
    }
    ~load_is() {
        ::unsetenv("PREFORK_LOADAVG_FILE");
        std::remove(path_.c_str());
    }
    load_is(const load_is&) = delete;
    load_is& operator=(const load_is&) = delete;

  private:
    std::string path_ = "/tmp/prefork_load_" + std::to_string(::getpid());
};

}  // namespace

TEST_CASE("map returns the results in the order of its inputs, for every kind of range") {
    for (const unsigned workers : {pf::inline_workers, 1u, 2u, 5u}) {
        CAPTURE(workers);
        const pf::test::leaks none_left;
        pf::pool pool{{.workers = workers}};
        for (const int count : {0, 1, 2, 3, 16, 17, 1000}) {
            const std::vector<int> results = pool.map(numbers(0, count), twice);
            REQUIRE(results.size() == static_cast<std::size_t>(count));
            for (int i = 0; i < count; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == 2 * i);
        }
        const std::list<std::string> words{"a", "bcd", "", "ef"};
        const auto lengths = pool.map(words, [](const std::string& word) { return word.size(); });
        CHECK(lengths == std::vector<std::size_t>{1, 3, 0, 2});
        const std::vector<bool> odd =
            pool.map(std::vector<int>{1, 2, 3}, [](int x) { return x % 2 == 1; });
        CHECK(odd == std::vector<bool>{true, false, true});
        const auto names =
            pool.map(std::vector<int>{1, 22}, [](int x) { return std::to_string(x); });
        CHECK(names == std::vector<std::string>{"1", "22"});
        pool.map(std::vector<int>{1, 2, 3}, [](int) {});
    }
}

// clang before 16 can't use the views of libstdc++ 12 at all, not even in a for loop (LLVM issue
// 44178).
#if !defined(__clang__) || __clang_major__ >= 16
TEST_CASE("map takes views, with and without a size") {
    pf::pool pool{{.workers = 2}};
    CHECK(pool.map(std::views::iota(0, 1000), twice).back() == 1998);
    auto evens = std::views::iota(0, 100) | std::views::filter([](int x) { return x % 2 == 0; });
    CHECK(pool.map(evens, twice).size() == 50);
}
#endif

TEST_CASE("map throws the first error in the order of the inputs, and the pool goes on") {
    pf::pool pool{{.workers = 2}};
    REQUIRE_THROWS_AS(pool.map(numbers(0, 100), fail_at_7), std::out_of_range);
    CHECK(pool.map(numbers(8, 11), fail_at_7) == std::vector<int>{8, 9, 10});
}

TEST_CASE("a group gathers in the order of run, once") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    pf::task_group<int> group{pool};
    for (int i = 0; i < 1000; ++i) group.run(twice, i);
    const std::vector<int> results = group.get();
    REQUIRE(results.size() == 1000);
    for (int i = 0; i < 1000; ++i) REQUIRE(results[static_cast<std::size_t>(i)] == 2 * i);
    REQUIRE_THROWS_AS(group.get(), pf::group_collected);
    REQUIRE_THROWS_AS(group.run(twice, 1), pf::group_collected);
    CHECK_FALSE(group.ran_inline());
}

TEST_CASE("more results than the ring has slots are kept until they are fetched") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .queue_limit = 50}};
    pf::task_group<std::string> group{pool};
    for (int i = 0; i < 5000; ++i) {
        group.run([](int n) { return std::string(static_cast<std::size_t>(n % 300), 'x'); }, i);
    }
    const std::vector<std::string> results = group.get();
    for (std::size_t i = 0; i < 5000; ++i) REQUIRE(results[i].size() == i % 300);
}

TEST_CASE("get_for throws wait_timeout, the tasks go on, and get may be tried again") {
    if (pf::test::left_out_inline("a task that runs while its caller goes on")) return;
    pf::pool pool{{.workers = 1}};
    pf::task_group<int> group{pool};
    group.run([] {
        timespec time{0, 50'000'000};
        ::nanosleep(&time, nullptr);
        return 42;
    });
    REQUIRE_THROWS_WITH(group.get_for(1ms), "no result within 1 ms; the task goes on");
    CHECK(group.get_for(10s) == std::vector<int>{42});
}

TEST_CASE("map takes a vector of bool") {
    pf::pool pool{{.workers = 2}};
    const std::vector<bool> flags{true, false, true};
    CHECK(pool.map(flags, [](bool each) { return each ? 7 : 8; }) == std::vector<int>{7, 8, 7});
    CHECK(pool.map(std::vector<bool>{true, false}, [](auto each) { return !each; }) ==
          std::vector<bool>{false, true});
    pool.map(flags, [](bool) {});
}

TEST_CASE("a view that can't be changed does all that a view does") {
    pf::pool pool{{.workers = 1}};
    const auto fast = pool.with({.timeout = 10s});
    CHECK(fast.submit(twice, 21).get() == 42);
    CHECK(fast.try_submit(twice, 21)->get() == 42);
    CHECK(fast.map(std::vector<int>{1, 2}, twice) == std::vector<int>{2, 4});
    CHECK(fast.with({.retries = 1}).submit(twice, 21).get() == 42);
    CHECK(fast.with(pf::codec::raw).submit(twice, 21).get() == 42);
    fast.detach(twice, 1);
    pool.drain();
}

TEST_CASE("a group converts its tasks' results") {
    pf::pool pool{{.workers = 1}};
    pf::task_group<double> group{pool};
    group.run(twice, 21);
    group.run([] { return 0.5; });
    CHECK(group.get() == std::vector<double>{42, 0.5});
}

TEST_CASE("a bound of any length and kind of number is one") {
    pf::pool pool{{.workers = 1}};
    using seconds = std::chrono::duration<double>;
    using hours = std::chrono::hours;
    CHECK(pool.submit(twice, 21).get_for(seconds(10.5)) == 42);
    CHECK(pool.submit(twice, 21).get_for(hours::max()) == 42);
    CHECK(pool.submit(twice, 21).get_for(seconds(1e300)) == 42);
    CHECK(pool.submit(twice, 21).wait_for(std::chrono::years::max()));
    pf::task_group<int> group{pool};
    group.run(twice, 21);
    CHECK(group.get_for(hours::max()) == std::vector<int>{42});
    if (pf::test::left_out_inline("a wait")) return;
    auto late = pool.submit([] { ::pause(); });
    CHECK_FALSE(late.wait_for(seconds(0.001)));
    CHECK_FALSE(late.wait_for(seconds(-1e300)));
    CHECK_FALSE(late.wait_for(hours::min()));
    CHECK_FALSE(late.wait_for(hours(-1)));
    REQUIRE_THROWS_WITH(late.get_for(seconds(0.0015)), "no result within 1 ms; the task goes on");
    REQUIRE_THROWS_AS(late.get_for(hours::min()), pf::wait_timeout);
    const std::vector<pf::future<int>> none;
    CHECK_FALSE(pf::when_any_for(none, hours::max()));
    pool.kill_all();
}

TEST_CASE("a group throws its first error after all its tasks have ended") {
    pf::pool pool{{.workers = 2}};
    pf::task_group<int> group{pool};
    for (int i = 0; i < 20; ++i) group.run(fail_at_7, i);
    REQUIRE_THROWS_WITH(group.get(), "item 7");
}

TEST_CASE("above the load, strictly, groups and maps run in the caller with the same results") {
    const load_is four{"4.00"};
    pf::pool pool{{.workers = 1}};
    const double exactly = 4.0 / pf::usable_cpus();
    pf::task_group<int> open{pool, {.max_load_average = exactly}};
    CHECK_FALSE(open.ran_inline());
    pf::task_group<int> shut{pool, {.max_load_average = exactly - 0.01}};
    CHECK(shut.ran_inline());
    for (int i = 0; i < 10; ++i) shut.run(twice, i);
    CHECK(shut.get() == std::vector<int>{0, 2, 4, 6, 8, 10, 12, 14, 16, 18});
    CHECK(pool.stats().inlined == 10);

    pf::pool gated{{.workers = 1, .max_load_average = 0.01}};
    const auto here = gated.map(std::vector<int>{1, 2}, [](int) { return ::getpid(); });
    CHECK(here == std::vector<int>{::getpid(), ::getpid()});
    const bool here_too = gated.submit([] { return ::getpid(); }).get() == ::getpid();
    CHECK(here_too == pf::test::inline_mode());
}

TEST_CASE("a group's load that makes no sense is refused by its name") {
    pf::pool pool{{.workers = 1}};
    for (const double load : {-1.0, std::nan("")}) {
        REQUIRE_THROWS_AS(pf::task_group<int>(pool, {.max_load_average = load}),
                          std::invalid_argument);
    }
    REQUIRE_THROWS_WITH(pf::task_group<int>(pool, {.max_load_average = -1}),
                        "prefork::group_options::max_load_average is -1.000000: it can't be "
                        "negative or not a number");
}

TEST_CASE("the machine's own load is read") {
    CHECK(pf::load_average() >= 0);
    CHECK(pf::usable_cpus() >= 1);
}

TEST_CASE("wait_for and ready tell without fetching") {
    pf::pool pool{{.workers = 1}};
    auto result = pool.submit([] {
        timespec time{0, 30'000'000};
        ::nanosleep(&time, nullptr);
        return 1;
    });
    CHECK(result.wait_for(1ms) == pf::test::inline_mode());
    CHECK(result.wait_for(10s));
    CHECK(result.ready());
    CHECK(result.get() == 1);
    CHECK_FALSE(result.valid());
    REQUIRE_THROWS_AS(result.get(), std::invalid_argument);
}

TEST_CASE("a result is fetched once, and the second time says so") {
    pf::pool pool{{.workers = 1}};
    auto result = pool.submit(twice, 1);
    CHECK(result.get() == 2);
    const std::string fetched =
        "prefork::future: its result was fetched before, or it never had one";
    REQUIRE_THROWS_WITH(result.get(), fetched);
    REQUIRE_THROWS_WITH(result.ready(), fetched);
    REQUIRE_THROWS_WITH(result.wait(), fetched);
    REQUIRE_THROWS_WITH(result.cancel(), fetched);
    REQUIRE_THROWS_WITH(pf::future<int>{}.get(), fetched);
    auto failed = pool.submit(fail_at_7, 7);
    REQUIRE_THROWS_AS(failed.get(), std::out_of_range);
    REQUIRE_THROWS_WITH(failed.get(), fetched);
}

TEST_CASE("a group that two threads use at once says so, and loses nothing") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    pf::task_group<int> group{pool};
    int begun[2];
    int go_on[2];
    REQUIRE(::pipe(begun) == 0);
    REQUIRE(::pipe(go_on) == 0);
    {
        // In the group's own call, on its thread, for as long as we want.
        pf::pool here{{.workers = pf::inline_workers}};
        pf::task_group<int> busy{here};
        std::thread user{[&] {
            busy.run(
                [](int say, int hear) {
                    char byte = 0;
                    static_cast<void>(!::write(say, "x", 1));
                    return static_cast<int>(::read(hear, &byte, 1));
                },
                begun[1], go_on[0]);
        }};
        char byte = 0;
        REQUIRE(::read(begun[0], &byte, 1) == 1);
        const std::string shared =
            "prefork::task_group: two threads use it at once, and it belongs to one at a time";
        CHECK_THROWS_WITH(busy.run(twice, 1), shared);
        CHECK_THROWS_WITH(busy.get(), shared);
        CHECK_THROWS_WITH(busy.get_for(1s), shared);
        CHECK(::write(go_on[1], "x", 1) == 1);
        user.join();
        // One after the other is fine, and so is a task that uses its caller's group.
        std::thread{[&] { busy.run(twice, 2); }}.join();
        static pf::task_group<int>* own = nullptr;
        own = &busy;
        busy.run([] { return own->run(twice, 3), 5; });
        CHECK(busy.get() == std::vector<int>{1, 4, 6, 5});
    }
    for (const int each : {begun[0], begun[1], go_on[0], go_on[1]}) ::close(each);
    pf::task_group<int> moved{std::move(group)};
    moved.run(twice, 4);
    CHECK(moved.get() == std::vector<int>{8});
}

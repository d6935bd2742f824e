#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

// Tasks in the caller: because it helps; and that seeds don't tell where a task ran.

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

pid_t where(int) { return ::getpid(); }
std::uint64_t seed_of(int) { return pf::this_task::seed(); }
int refuse_seven(int x) {
    if (x == 7) throw std::out_of_range("seven");
    return x;
}

std::vector<int> up_to(int count) {
    std::vector<int> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
}

}  // namespace

TEST_CASE("a caller that helps does all the work when no worker is there to do it") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto stuck = pool.submit([] { ::pause(); });
    const auto pids = pool.map(up_to(100), where, {.caller_helps = true});
    CHECK(pids.size() == 100);
    CHECK(std::count(pids.begin(), pids.end(), ::getpid()) >= 90);  // one chunk may wait first
    CHECK(pool.stats().inlined > 0);
    stuck.cancel();
}

TEST_CASE("a group's caller that helps does all the work when no worker is there to do it") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto stuck = pool.submit([] { ::pause(); });
    pf::task_group<pid_t> group{pool, {.caller_helps = true}};
    for (int i = 0; i < 100; ++i) group.run(where, i);
    const auto pids = group.get_for(20s);
    CHECK(std::count(pids.begin(), pids.end(), ::getpid()) == 100);
    CHECK_FALSE(group.ran_inline());
    stuck.cancel();
}

TEST_CASE("a group's caller helps only as long as it may wait, and again when it asks again") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto stuck = pool.submit([] { ::pause(); });
    pf::task_group<pid_t> group{pool, {.caller_helps = true}};
    for (int i = 0; i < 3; ++i) group.run(where, i);
    CHECK_THROWS_AS(group.get_for(0s), pf::wait_timeout);
    CHECK(pool.stats().inlined == 0);
    CHECK(group.get() == std::vector<pid_t>(3, ::getpid()));
    CHECK(pool.stats().inlined == 3);
    stuck.cancel();
}

TEST_CASE("errors of a group don't tell that the caller helped: the first in order is thrown") {
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto stuck = pool.submit([] { ::pause(); });
    pf::task_group<int> group{pool, {.caller_helps = true}};
    for (const int each : {1, 7, 2}) group.run(refuse_seven, each);
    group.run([](int) -> int { throw std::runtime_error("later"); }, 3);
    CHECK_THROWS_WITH(group.get(), "seven");
    stuck.cancel();
}

TEST_CASE("results and errors of a map don't tell that the caller helped") {
    for (const bool helps : {false, true}) {
        pf::pool pool{{.workers = 2}};
        const auto numbers = up_to(1000);
        CHECK(pool.map(numbers, [](int x) { return x; }, {.caller_helps = helps}) == numbers);
        REQUIRE_THROWS_WITH(pool.map(numbers, refuse_seven, {.caller_helps = helps}), "seven");
        const auto texts =
            pool.map(numbers, [](int x) { return std::string(static_cast<std::size_t>(x), 'x'); },
                     {.caller_helps = helps});
        CHECK(texts[999].size() == 999);
        const pf::pool_stats stats = pool.stats();
        CHECK(stats.completed + stats.failed == stats.submitted);
    }
}

TEST_CASE("a seed is the same inline, on one worker, on many, with the caller's help, on a retry") {
    std::vector<std::vector<std::uint64_t>> all;
    for (const unsigned workers : {pf::inline_workers, 1u, 2u, 5u}) {
        pf::pool pool{{.workers = workers, .seed = 42}};
        std::vector<std::uint64_t> seeds;
        for (int i = 0; i < 3; ++i) seeds.push_back(pool.submit(seed_of, i).get());
        for (const std::uint64_t each :
             pool.map(up_to(100), seed_of, {.caller_helps = workers == 2})) {
            seeds.push_back(each);
        }
        const auto nested = [&pool](int x) { return pool.submit(seed_of, x).get(); };
        static_assert(std::is_trivially_copyable_v<decltype(nested)>);
        for (const std::uint64_t each : pool.map(up_to(10), nested)) seeds.push_back(each);
        all.push_back(seeds);
    }
    CHECK(all[0].size() == 113);
    CHECK(all[1] == all[0]);
    CHECK(all[2] == all[0]);
    CHECK(all[3] == all[0]);

    static volatile bool* const first = static_cast<bool*>(
        ::mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pf::pool pool{{.workers = 1, .retries = 1, .seed = 42}};
    *first = true;
    const auto at_the_second_try = [] {
        if (std::exchange(*first, false)) ::raise(SIGKILL);
        return pf::this_task::seed();
    };
    CHECK(pool.submit(at_the_second_try).get() == all[0][0]);
    pf::pool other{{.workers = pf::inline_workers, .seed = 43}};
    CHECK(other.submit(seed_of, 0).get() != all[0][0]);
}

#include "process/task_context.hpp"

#include <bit>
#include <set>

#include "prefork/worker.hpp"
#include "support/catch.hpp"

using prefork::process::task_context;

TEST_CASE(
    "a seed is made of the pool's and the task's number, item included, and of nothing else") {
    const std::uint64_t five = 5;
    const std::uint64_t three = 3;
    task_context a{1, five};
    task_context b{1, three};
    b.item() = 2;
    CHECK(a.seed() == b.seed());
    CHECK(task_context{2, five}.seed() != a.seed());
    b.item() = 1;
    CHECK(a.seed() != b.seed());
}

TEST_CASE("seeds of neighbours differ in about half of their bits, and never are the same") {
    std::set<std::uint64_t> all;
    int bits = 0;
    std::uint64_t before = 0;
    for (std::uint64_t number = 0; number < 1000; ++number) {
        const std::uint64_t seed = task_context{0, number}.seed();
        bits += std::popcount(seed ^ before);
        before = seed;
        all.insert(seed);
    }
    CHECK(all.size() == 1000);
    CHECK(bits > 30'000);
    CHECK(bits < 34'000);
}

TEST_CASE("a task knows its own context, an inner one its own, and nobody any outside") {
    CHECK(prefork::this_task::seed() == 0);
    const std::uint64_t number = 1;
    task_context outer{7, number};
    const task_context::scope in_outer{outer};
    CHECK(prefork::this_task::seed() == outer.seed());
    {
        task_context inner{outer.seed(), number};
        const task_context::scope in_inner{inner};
        CHECK(prefork::this_task::seed() == inner.seed());
    }
    CHECK(task_context::current() == &outer);
    CHECK(outer.next_inner_number() == 1);
    CHECK(outer.next_inner_number() == 2);
    outer.item() = 4;
    CHECK(outer.next_inner_number() == 1);  // the same in whichever chunk the item is
}

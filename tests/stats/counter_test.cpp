#include "stats/counter.hpp"

#include "support/catch.hpp"

using namespace prefork::stats;

TEST_CASE("a counter knows sums and extremes of what it noted") {
    counter counts{};
    CHECK(sums::of(counts).count == 0);
    counts.note(5, 100);
    counts.note(3, 50);
    counts.note(10, 70);
    const sums now = sums::of(counts);
    CHECK(now.count == 3);
    CHECK(now.run_sum == 220);
    CHECK(now.run_min == 50);
    CHECK(now.run_max == 100);
    CHECK(now.queue_sum == 18);
    CHECK(now.queue_min == 3);
    CHECK(now.queue_max == 10);
    counts.reset();
    CHECK(sums::of(counts).count == 0);
}

TEST_CASE("a counter that noted nothing changes no extremes when it is added") {
    counter one{};
    one.note(5, 100);
    sums total = sums::of(one);
    total += sums::of(counter{});
    CHECK(total.count == 1);
    CHECK(total.run_min == 100);
    CHECK(total.queue_min == 5);
}

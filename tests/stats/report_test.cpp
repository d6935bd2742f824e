#include "stats/report.hpp"

#include <chrono>

#include "support/catch.hpp"

using namespace prefork::stats;
using namespace std::chrono_literals;

TEST_CASE("durations are converted from ticks, and are zero for none") {
    const auto some = durations(4, 400, 50, 200, 0.5);
    CHECK(some.min == 25ns);
    CHECK(some.mean == 50ns);
    CHECK(some.max == 100ns);
    const auto none = durations(0, 0, ~0ull, 0, 0.5);
    CHECK(none.min == 0ns);
    CHECK(none.max == 0ns);
}

TEST_CASE("numbers that a worker made up stay numbers") {
    const auto absurd = durations(1, ~0ull, ~0ull, ~0ull, 1000.0);
    CHECK(absurd.max.count() > 0);
    CHECK(busy_fraction(~0ull, 1.0, 1s) == 1.0);
    CHECK(busy_fraction(10, 1.0, 0s) == 0.0);
}

TEST_CASE("what dead workers counted is kept") {
    counter worker{};
    worker.note(1, 10);
    report all;
    all.retire(worker);
    all.retire(worker);
    CHECK(all.gone().count == 2);
    CHECK(all.gone().run_sum == 20);
}

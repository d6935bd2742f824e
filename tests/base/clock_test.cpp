#include "base/clock.hpp"

#include <chrono>
#include <limits>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using prefork::base::deadline_after;
using prefork::base::monotonic;
using prefork::base::never;
using prefork::base::now_ns;
using prefork::base::time_point;

TEST_CASE("time never runs backwards") {
    auto last = now_ns();
    for (int i = 0; i < 100'000; ++i) {
        const auto now = now_ns();
        REQUIRE(now >= last);
        last = now;
    }
}

TEST_CASE("now_ns() and monotonic are one clock") {
    const auto before = monotonic::now().time_since_epoch() / 1ns;
    const auto now = now_ns();
    const auto after = monotonic::now().time_since_epoch() / 1ns;
    CHECK(before <= now);
    CHECK(now <= after);
}

TEST_CASE("a deadline is as far away as was asked, in whatever unit") {
    const time_point from{1h};
    CHECK(deadline_after(from, 5ms) == time_point{1h + 5ms});
    CHECK(deadline_after(from, 2s) == time_point{1h + 2s});
    CHECK(deadline_after(from, 0ns) == from);
    CHECK(deadline_after(from, -1s) == time_point{59min + 59s});
}

TEST_CASE("a duration that leaves the clock's range means never, and does not wrap into the past") {
    const time_point now = monotonic::now();
    CHECK(deadline_after(now, std::chrono::nanoseconds::max()) == never);
    CHECK(deadline_after(now, monotonic::duration::max()) == never);
    CHECK(deadline_after(now, never - now) == never);
    CHECK(deadline_after(now, never - now - 1ns) == never - 1ns);
    CHECK(deadline_after(never, 1s) == never);
}

TEST_CASE("for ever in hours or seconds means never") {
    const time_point now = monotonic::now();
    CHECK(deadline_after(now, std::chrono::hours::max()) == never);
    CHECK(deadline_after(now, std::chrono::seconds::max()) == never);
    CHECK(deadline_after(now, std::chrono::milliseconds::max()) == never);
    CHECK(deadline_after(now, std::chrono::duration<double>(1e300)) == never);
}

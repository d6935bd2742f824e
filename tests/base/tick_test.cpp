#include "base/tick.hpp"

#include <limits>
#include <thread>

#include "support/catch.hpp"

using namespace prefork::base;
using namespace std::chrono_literals;

TEST_CASE("a start that another CPU's counter puts ahead of now is not ages ago") {
    const std::uint64_t ahead = ticks() + 1'000'000'000'000;
    CHECK(ticks_since(ahead) == 0);
    CHECK(tick_scale{}.since(ahead) == 0ns);
}

TEST_CASE("what is said to be ages ago is a year at most") {
    CHECK(tick_scale{}.since(0) <= std::chrono::hours(24 * 365));
    CHECK(tick_scale{}.since(0) > 0ns);
    CHECK(ticks_since(ticks()) < std::numeric_limits<std::uint32_t>::max());
}

TEST_CASE("ticks pass as the clock does") {
    const tick_scale scale;
    const std::uint64_t began = ticks();
    const time_point began_at = monotonic::now();
    while (monotonic::now() - began_at < 20ms) std::this_thread::yield();
    const nanoseconds passed = monotonic::now() - began_at;
    CHECK(scale.since(began) > passed / 2);
    CHECK(scale.since(began) < passed + 10s);
}

#include "process/roster.hpp"

#include <unistd.h>

#include "support/catch.hpp"

using namespace prefork;
using namespace prefork::process;
using namespace std::chrono_literals;

namespace {

/// Starts what is due at `now` and lets it run; its seat.
unsigned start(roster& all, base::time_point now) {
    const auto due = all.due(now);
    REQUIRE(due.size() == 1);
    const auto seat = all.begin_start(due[0], now);
    REQUIRE(seat);
    all.started(*seat);
    return *seat;
}

}  // namespace

TEST_CASE("every worker is due at first, and none once it is started") {
    roster all{3, 8};
    const base::time_point now = base::monotonic::now();
    CHECK(all.due(now) == std::vector<unsigned>{0, 1, 2});
    for (unsigned index = 0; index < 3; ++index) {
        const auto seat = all.begin_start(index, now);
        REQUIRE(seat);
        CHECK(all.is_alive(*seat));
        all.started(*seat);
    }
    CHECK(all.running() == 3);
    CHECK(all.due(now).empty());
    CHECK(all.next_due() == base::never);
}

TEST_CASE("a replacement has its predecessor's index, another seat, and is due at once") {
    roster all{1, 4};
    const base::time_point now = base::monotonic::now();
    const unsigned first = start(all, now);
    all.ended(first, now + 1ms, false);
    CHECK(all.at(first).phase == phase::pinned);
    const unsigned second = start(all, now + 1ms);
    CHECK(second != first);
    CHECK(all.at(second).index == 0);
}

TEST_CASE("a seat is used again once nobody holds anything of it, and not before") {
    roster all{1, 2};
    const base::time_point now = base::monotonic::now();
    const unsigned first = start(all, now);
    all.ended(first, now, true);
    const unsigned second = start(all, now);
    all.ended(second, now, true);
    CHECK_FALSE(all.begin_start(0, now));
    all.vacate(first);
    CHECK(all.begin_start(0, now) == first);
}

TEST_CASE("workers that die useless and young come back later each time, up to five seconds") {
    roster all{1, 2};
    base::time_point now = base::monotonic::now();
    std::vector<std::chrono::nanoseconds> delays;
    for (int i = 0; i < 14; ++i) {
        const unsigned seat = start(all, now);
        all.ended(seat, now, false);
        all.vacate(seat);
        delays.push_back(all.next_due() - now);
        now = all.next_due();
    }
    CHECK(delays[0] == 0ms);
    CHECK(delays[1] == 10ms);
    CHECK(delays[2] == 20ms);
    CHECK(delays[3] == 40ms);
    CHECK(delays.back() == 5000ms);
}

TEST_CASE("a worker that was useful, or old, or killed by us is replaced at once") {
    roster all{1, 2};
    base::time_point now = base::monotonic::now();
    for (int i = 0; i < 5; ++i) {
        const unsigned seat = start(all, now);
        all.ended(seat, now, i % 2 == 0);
        all.vacate(seat);
        CHECK(all.next_due() == now);
    }
    unsigned seat = start(all, now);
    now += roster::young;
    all.ended(seat, now, false);
    all.vacate(seat);
    CHECK(all.next_due() == now);
    for (int i = 0; i < 5; ++i) {
        seat = start(all, now);
        all.at(seat).killed_by = killer::timeout;
        all.ended(seat, now, false);
        all.vacate(seat);
        CHECK(all.next_due() == now);
    }
}

TEST_CASE("since when starts fail is known, and a success forgets it") {
    roster all{1, 2};
    const base::time_point now = base::monotonic::now();
    CHECK(all.failing_since() == base::never);
    for (unsigned i = 1; i <= 2; ++i) {
        const auto seat = all.begin_start(0, now);
        REQUIRE(seat);
        all.ended(*seat, now + i * 1s, false);
        all.vacate(*seat);
        CHECK(all.failing_since() == now + 1s);
        CHECK_FALSE(all.replaces_in_time(now + i * 1s));
    }
    start(all, now + 10s);
    CHECK(all.failing_since() == base::never);
    CHECK(all.replaces_in_time(now + 10s));
}

TEST_CASE("workers that die young in a row are not replaced in time, until one grows up") {
    roster all{1, 2};
    base::time_point now = base::monotonic::now();
    for (int died = 0; died < 3; ++died) {
        CHECK(all.replaces_in_time(now) == (died < 2));
        const unsigned seat = start(all, now);
        CHECK(all.replaces_in_time(now) == (died < 2));
        all.ended(seat, now, false);
        all.vacate(seat);
        now += 100ms;  // the delay of its replacement
    }
    const unsigned seat = start(all, now);
    CHECK_FALSE(all.replaces_in_time(now + roster::young - 1ms));
    CHECK(all.replaces_in_time(now + roster::young));
    all.ended(seat, now + 2s, true);  // recycled
    CHECK(all.replaces_in_time(now + 2s));
}

TEST_CASE("a spare takes the place of a worker that died, and another spare is due") {
    roster all{2, 6};
    const base::time_point now = base::monotonic::now();
    for (const unsigned index : all.due(now)) all.started(*all.begin_start(index, now));
    CHECK_FALSE(all.promote(0, now));
    all.keep_spare();
    REQUIRE(all.due(now) == std::vector<unsigned>{2});
    const auto spare = all.begin_start(2, now);
    REQUIRE(spare);
    CHECK(all.is_spare(all.at(*spare)));
    all.ended(0, now, true);
    REQUIRE(all.due(now) == std::vector<unsigned>{0});
    CHECK_FALSE(all.promote(0, now));  // asked for, but not yet forked
    all.at(*spare).pidfd = base::unique_fd{::dup(0)};
    REQUIRE(all.promote(0, now) == spare);
    CHECK(all.at(*spare).index == 0);
    CHECK(all.running() == 1);
    all.started(*spare);
    CHECK(all.running() == 2);
    CHECK(all.due(now) == std::vector<unsigned>{2});
}

TEST_CASE("a spare that dies before its turn is no failed start, and comes back") {
    roster all{1, 4};
    const base::time_point now = base::monotonic::now();
    start(all, now);
    all.keep_spare();
    const auto spare = all.begin_start(1, now);
    REQUIRE(spare);
    all.ended(*spare, now, false);
    CHECK(all.failing_since() == base::never);
    CHECK(all.due(now) == std::vector<unsigned>{1});
    CHECK(all.running() == 1);
}

TEST_CASE("no start is due while every seat is taken") {
    roster all{1, 1};
    const base::time_point now = base::monotonic::now();
    const unsigned seat = start(all, now);
    all.ended(seat, now, true);
    CHECK(all.next_due() == base::never);
    all.vacate(seat);
    CHECK(all.next_due() == now);
}

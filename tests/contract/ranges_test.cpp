#include "prefork/ranges.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"

using prefork::interval;

namespace {

std::vector<interval> cut(std::size_t count, unsigned workers, std::size_t min_size = 0) {
    std::vector<interval> all;
    for (const interval each : prefork::ranges(count, {.workers = workers, .min_size = min_size})) {
        all.push_back(each);
    }
    return all;
}

}  // namespace

TEST_CASE("80 items are cut as the Python library cut them") {
    CHECK(cut(80, 4) == std::vector<interval>{{0, 20}, {20, 40}, {40, 60}, {60, 80}});
    CHECK(cut(80, 4, 30) == std::vector<interval>{{0, 30}, {30, 60}, {60, 80}});
    CHECK(cut(80, 4, 100) == std::vector<interval>{{0, 80}});
    CHECK(cut(0, 4).empty());
}

TEST_CASE("every item is in one interval, in order, for every count and number of workers") {
    for (std::size_t count = 0; count < 60; ++count) {
        for (unsigned workers = 1; workers < 12; ++workers) {
            const auto all = cut(count, workers);
            std::size_t next = 0;
            for (const interval& each : all) {
                REQUIRE(each.first == next);
                REQUIRE(each.last > each.first);
                next = each.last;
            }
            REQUIRE(next == count);
            REQUIRE(all.size() <= workers);
            REQUIRE(all.size() == prefork::ranges(count, {.workers = workers}).size());
        }
    }
}

TEST_CASE("counts and sizes near the end of size_t don't overflow") {
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    const auto all = cut(most, 3);
    REQUIRE(all.size() == 3);
    CHECK(all.back().last == most);
    CHECK(cut(most, 2, most) == std::vector<interval>{{0, most}});
}

TEST_CASE("no number of workers means as many as there are usable CPUs") {
    CHECK(prefork::ranges(1000).size() == prefork::usable_cpus());
}

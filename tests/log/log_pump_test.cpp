#include "log/log_pump.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/log_lines.hpp"

namespace pf = prefork;
using namespace pf::logging;
using pf::level;
using namespace std::chrono_literals;

namespace {

const std::chrono::system_clock::time_point noon{1'000'000s};
using strings = std::vector<std::string>;

struct pump_here {
    std::unique_ptr<log_ring[]> rings{new log_ring[3]};
    log_pump pump{rings.get(), 3};
    pf::test::log_lines lines;

    pump_here() {
        for (unsigned seat = 0; seat < 3; ++seat) pump.reset(seat);
    }
    void write(unsigned seat, std::chrono::nanoseconds after_noon, const std::string& text) {
        log_writer{rings[seat], -1}.write(level::info, noon + after_noon, text);
    }
    strings pass_on() {
        for (unsigned seat = 0; seat < 3; ++seat) {
            pump.collect(seat, static_cast<pid_t>(100 + seat), seat);
        }
        const std::size_t before = lines.size();
        pump.take().deliver("pool");
        auto texts = lines.texts();
        texts.erase(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(before));
        return texts;
    }
};

}  // namespace

TEST_CASE("lines of several workers are delivered in the order of time") {
    pump_here here;
    here.write(2, 1ns, "a");
    here.write(0, 2ns, "b");
    here.write(2, 3ns, "c");
    here.write(1, 4ns, "d");
    CHECK(here.pass_on() == strings{"a", "b", "c", "d"});
    CHECK(here.pass_on().empty());
    const auto all = here.lines.all();
    CHECK(all[0].worker == 2u);
    CHECK(all[0].pid == 102);
    CHECK(all[0].pool == "pool");
    CHECK(all[0].time == noon + 1ns);
}

TEST_CASE("a clock that is set back doesn't change the order of a worker's own lines") {
    pump_here here;
    here.write(0, 5ns, "first");
    here.write(0, 1ns, "second");
    here.write(1, 3ns, "other");
    here.write(0, std::chrono::nanoseconds::min() / 2, "third");
    CHECK(here.pass_on() == strings{"other", "first", "second", "third"});
}

TEST_CASE("the last twenty lines of a worker are kept, delivered or not, until the next one") {
    pump_here here;
    CHECK(here.pump.tail(0).empty());
    std::string expected;
    for (int i = 1; i <= 25; ++i) {
        here.write(0, std::chrono::nanoseconds(i), "line " + std::to_string(i));
        if (i % 3 == 0) here.pass_on();
        if (i > 5) expected += (i > 6 ? "\n[info] line " : "[info] line ") + std::to_string(i);
    }
    here.write(1, 0ns, "not mine");
    here.pump.collect(0, 100, 0);
    CHECK(here.pump.tail(0) == expected);
    here.pump.reset(0);
    CHECK(here.pump.tail(0).empty());
}

TEST_CASE("who falls asleep is told that there is something") {
    pump_here here;
    CHECK(here.pump.fall_asleep(1));
    here.write(1, 0ns, "x");
    CHECK_FALSE(here.pump.fall_asleep(1));
    CHECK(here.pump.fall_asleep(0));
    CHECK(here.pass_on() == strings{"x"});
    CHECK(here.pump.fall_asleep(1));
}

#include "gate/load_average.hpp"

#include "prefork/gate.hpp"
#include "support/catch.hpp"

using namespace prefork::gate;

TEST_CASE("the first number of /proc/loadavg is the load") {
    CHECK(parse_load("0.50 0.40 0.30 1/200 4711\n") == 0.5);
    CHECK(parse_load("12.00") == 12.0);
    CHECK(parse_load("0") == 0.0);
}

TEST_CASE("what is no load is none") {
    for (const char* text :
         {"", " ", "\n", "x", "-1.0 0 0", "nan 0 0", "inf 0 0", "1.0x 2", "1e999 0"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_load(text));
    }
}

TEST_CASE("this machine has a load") {
    CHECK(one_minute_load().has_value());
    CHECK(prefork::load_average() >= 0);
}

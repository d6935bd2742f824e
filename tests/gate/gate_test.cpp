#include "gate/gate.hpp"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "support/catch.hpp"

using namespace prefork;

namespace {

void set_load(const char* text) {
    static const std::string path = "/tmp/prefork_gate_" + std::to_string(::getpid());
    std::ofstream{path} << text;
    ::setenv("PREFORK_LOADAVG_FILE", path.c_str(), 1);
    std::atexit([] { ::unlink(path.c_str()); });
}

}  // namespace

TEST_CASE(
    "the gate is open at the limit and shut strictly above it, for all usable CPUs together") {
    set_load("3.00 0 0");
    CHECK(gate::is_open(0.75, 4));
    CHECK_FALSE(gate::is_open(0.74, 4));
    CHECK(gate::is_open(3.0, 1));
}

TEST_CASE("an unknown load shuts nothing") {
    set_load("nonsense");
    CHECK(gate::is_open(0.0, 1));
}

TEST_CASE("the gate is sampled at most once a second, and asking doesn't look") {
    set_load("0.00 0 0");
    gate::gate sampled{1.0, 1};
    const base::time_point start = base::monotonic::now();
    sampled.sample(start);
    CHECK(sampled.open());
    set_load("9.00 0 0");
    sampled.sample(start + std::chrono::milliseconds(999));
    CHECK(sampled.open());
    sampled.sample(start + std::chrono::milliseconds(1000));
    CHECK_FALSE(sampled.open());
}

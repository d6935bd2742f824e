#include "support/side_by_side.hpp"

#include <csignal>
#include <stdexcept>

#include "support/catch.hpp"

using namespace prefork::test;

TEST_CASE("each case runs once, and how its process ended is told") {
    constexpr std::size_t count = 7;
    auto* const found = shared_with_children<complaints>(count);
    const std::vector<int> ends = run_side_by_side(count, 3, [&](std::size_t i) {
        found[i].say("case " + std::to_string(i));
        if (i == 2) ::raise(SIGSEGV);
        if (i == 4) throw std::runtime_error("wrong");
        if (i == 5) ::raise(SIGALRM);  // as after two minutes
    });
    REQUIRE(ends.size() == count);
    for (std::size_t i = 0; i < count; ++i) {
        CAPTURE(i);
        CHECK(std::string(found[i].text) == "case " + std::to_string(i));
        CHECK((ends[i] == 0) == (i != 2 && i != 4 && i != 5));
    }
    CHECK(WTERMSIG(ends[2]) == SIGSEGV);
    CHECK(WEXITSTATUS(ends[4]) == 99);
    CHECK(WTERMSIG(ends[5]) == SIGALRM);
}

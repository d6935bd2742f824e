#include "base/fail_point.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/clock.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

using prefork::base::fail_point;
using prefork::test::child_end;
using prefork::test::in_child;
using prefork::test::until;
using action = fail_point::action;

namespace {

struct disarmed_at_end {
    ~disarmed_at_end() { fail_point::disarm(); }
};

}  // namespace

TEST_CASE("nothing happens at a place that nobody armed") {
    CHECK(fail_point::hit("here") == 0);
    fail_point::pass("here");
    fail_point::release();
    fail_point::disarm();
    CHECK(fail_point::hits() == 0);
}

TEST_CASE("an armed place fails as it was told, and others go on") {
    const disarmed_at_end guard;
    fail_point::arm("here", action::fail, 1, 1, ENOSPC);
    CHECK(fail_point::hit("there") == 0);
    CHECK(fail_point::hit("her") == 0);
    CHECK(fail_point::hit("here too") == 0);
    CHECK(fail_point::hits() == 0);
    CHECK(fail_point::hit("here") == ENOSPC);
    CHECK(fail_point::hits() == 1);
}

TEST_CASE("the hits before the first that was asked for, and those after the last, go on") {
    const disarmed_at_end guard;
    fail_point::arm("here", action::fail, 3, 2, EIO);
    int errors[6];
    for (int& each : errors) each = fail_point::hit("here");
    const int expected[] = {0, 0, EIO, EIO, 0, 0};
    for (int i = 0; i < 6; ++i) {
        CAPTURE(i);
        CHECK(errors[i] == expected[i]);
    }
    CHECK(fail_point::hits() == 6);
}

TEST_CASE("arming anew forgets the plan before, and its count") {
    const disarmed_at_end guard;
    fail_point::arm("here", action::fail, 1, 100, EIO);
    CHECK(fail_point::hit("here") == EIO);
    fail_point::arm("there", action::fail, 1, 1, ENOMEM);
    CHECK(fail_point::hits() == 0);
    CHECK(fail_point::hit("here") == 0);
    CHECK(fail_point::hit("there") == ENOMEM);
    fail_point::disarm();
    CHECK(fail_point::hit("there") == 0);
}

TEST_CASE("the process that arrives dies as if it was killed, and no other") {
    const disarmed_at_end guard;
    fail_point::arm("here", action::die);
    const auto arrive = [] {
        fail_point::pass("here");
        return 5;
    };
    CHECK(in_child(arrive) == child_end{0, SIGKILL});
    CHECK(fail_point::hits() == 1);
    CHECK(in_child(arrive) == child_end{5, 0});
}

TEST_CASE("hits are counted over all processes") {
    const disarmed_at_end guard;
    fail_point::arm("here", action::fail, 3, 1, EIO);
    const auto arrive = [] { return fail_point::hit("here"); };
    CHECK(in_child(arrive) == child_end{0, 0});
    CHECK(fail_point::hit("here") == 0);
    CHECK(in_child(arrive) == child_end{EIO, 0});
    CHECK(fail_point::hits() == 3);
}

TEST_CASE("who is held stands still until it is released") {
    const prefork::test::leaks leak_guard;
    const disarmed_at_end guard;
    fail_point::arm("here", action::hold);
    const auto began = prefork::base::monotonic::now();
    const pid_t child = prefork::test::fork_child([] {
        fail_point::pass("here");
        return 3;
    });
    REQUIRE(until([] { return fail_point::hits() == 1; }));
    siginfo_t running{};
    CHECK(::waitid(P_PID, static_cast<id_t>(child), &running, WEXITED | WNOHANG | WNOWAIT) == 0);
    CHECK(running.si_pid == 0);
    fail_point::release();
    CHECK(prefork::test::wait_for_child(child) == child_end{3, 0});
    // Released, not at the end of the ten seconds after which it would go on by itself.
    CHECK(prefork::base::monotonic::now() - began < std::chrono::seconds(9));
}

TEST_CASE("disarming lets go whom it held") {
    const prefork::test::leaks leak_guard;
    fail_point::arm("here", action::hold);
    std::thread held{[] { fail_point::pass("here"); }};
    const bool arrived = until([] { return fail_point::hits() == 1; });
    fail_point::disarm();
    held.join();
    CHECK(arrived);
}

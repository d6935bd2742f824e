#include "base/fail_point.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <set>
#include <stdexcept>
#include <thread>

#include "base/clock.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

using prefork::base::fail_place;
using prefork::base::fail_point;
namespace fail_points = prefork::base::fail_points;
using prefork::test::child_end;
using prefork::test::in_child;
using prefork::test::until;
using action = fail_point::action;

namespace {

// Two of the list, whichever: nothing but this test comes to them here.
constexpr const char* here = "worker.claimed";
constexpr const char* there = "worker.started";

int hit_here() { return fail_point::refused("worker.claimed") ? errno : 0; }
int hit_there() { return fail_point::refused("worker.started") ? errno : 0; }

struct disarmed_at_end {
    ~disarmed_at_end() { fail_point::disarm(); }
};

}  // namespace

TEST_CASE("each place is in the list once, and somebody comes to it") {
    std::set<std::string_view> names;
    for (const fail_points::place& each : fail_points::all) {
        CAPTURE(each.name);
        CHECK(names.insert(each.name).second);
        CHECK(each.visitors != 0);
        CHECK((each.visitors & ~fail_points::anyone) == 0);
    }
}

TEST_CASE("nothing happens at a place that nobody armed") {
    CHECK(hit_here() == 0);
    fail_point::pass("worker.claimed");
    fail_point::release();
    fail_point::disarm();
    CHECK(fail_point::hits() == 0);
    CHECK(fail_point::stopped() == 0);
}

TEST_CASE("an armed place fails as it was told, and others go on") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::fail, 1, 1, ENOSPC);
    CHECK(hit_there() == 0);
    CHECK(fail_point::hits() == 0);
    CHECK(hit_here() == ENOSPC);
    CHECK(fail_point::hits() == 1);
}

TEST_CASE("a place that is not in the list can't be armed") {
    const disarmed_at_end guard;
    fail_point::count();
    CHECK_THROWS_AS(fail_point::arm("worker.claime", action::die), std::invalid_argument);
    CHECK_THROWS_AS(fail_point::arm("worker.claimed too", action::die), std::invalid_argument);
}

TEST_CASE("the hits before the first that was asked for, and those after the last, go on") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::fail, 3, 2, EIO);
    int errors[6];
    for (int& each : errors) each = hit_here();
    const int expected[] = {0, 0, EIO, EIO, 0, 0};
    for (int i = 0; i < 6; ++i) {
        CAPTURE(i);
        CHECK(errors[i] == expected[i]);
    }
    CHECK(fail_point::hits() == 6);
}

TEST_CASE("arming anew forgets the plan before, and its count") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::fail, 1, 100, EIO);
    CHECK(hit_here() == EIO);
    fail_point::arm(there, action::fail, 1, 1, ENOMEM);
    CHECK(fail_point::hits() == 0);
    CHECK(hit_here() == 0);
    CHECK(hit_there() == ENOMEM);
    fail_point::disarm();
    CHECK(hit_there() == 0);
}

TEST_CASE("a place is armed beside another, and each has its own error") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::fail, 1, 100, EIO);
    fail_point::arm_also(there, action::fail, 2, 1, ENOMEM);
    CHECK(hit_here() == EIO);
    CHECK(hit_there() == 0);
    CHECK(hit_there() == ENOMEM);
    CHECK(hit_here() == EIO);
}

TEST_CASE("a call that moves bytes moves one of them, or is refused") {
    const disarmed_at_end guard;
    std::size_t size = 10;
    fail_point::arm(here, action::fail, 1, 1, fail_points::one_byte);
    CHECK_FALSE(fail_point::refused("worker.claimed", size));
    CHECK(size == 1);
    size = 10;
    CHECK_FALSE(fail_point::refused("worker.claimed", size));
    CHECK(size == 10);
    fail_point::arm(here, action::fail, 1, 1, EIO);
    CHECK(fail_point::refused("worker.claimed", size));
    CHECK(errno == EIO);
    CHECK(size == 10);
}

TEST_CASE("only the visitors that were meant are refused, and counted") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::fail, 1, 100, EIO, fail_points::worker | fail_points::monitor);
    CHECK(hit_here() == 0);
    CHECK(in_child([] {
              fail_point::enter(fail_points::worker);
              return hit_here();
          }) == child_end{EIO, 0});
    int in_monitor = 0;
    std::thread{[&] {
        fail_point::enter(fail_points::monitor);
        in_monitor = hit_here();
    }}.join();
    CHECK(in_monitor == EIO);
    CHECK(hit_here() == 0);
    CHECK(fail_point::hits() == 2);
    const std::size_t place = fail_place{"worker.claimed"}.index();
    CHECK(fail_point::hits(place, fail_points::host) == 2);
    CHECK(fail_point::hits(place, fail_points::monitor) == 1);
    CHECK(fail_point::hits(place, fail_points::worker) == 1);
    CHECK(fail_point::hits(place, fail_points::server) == 0);
}

TEST_CASE("the process that arrives dies as if it was killed, and no other") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::die);
    const auto arrive = [] {
        fail_point::pass("worker.claimed");
        return 5;
    };
    CHECK(in_child(arrive) == child_end{0, SIGKILL});
    CHECK(fail_point::hits() == 1);
    CHECK(in_child(arrive) == child_end{5, 0});
}

TEST_CASE("the process that arrives stops, says which it is, and goes on when it is told to") {
    const prefork::test::leaks leak_guard;
    const disarmed_at_end guard;
    fail_point::arm(here, action::stop);
    const pid_t child = prefork::test::fork_child([] {
        fail_point::pass("worker.claimed");
        return 3;
    });
    siginfo_t stopped{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &stopped, WEXITED | WSTOPPED) == 0);
    CHECK(stopped.si_code == CLD_STOPPED);
    CHECK(fail_point::stopped() == child);
    ::kill(child, SIGCONT);
    CHECK(prefork::test::wait_for_child(child) == child_end{3, 0});
}

TEST_CASE("hits are counted over all processes") {
    const disarmed_at_end guard;
    fail_point::arm(here, action::fail, 3, 1, EIO);
    CHECK(in_child(hit_here) == child_end{0, 0});
    CHECK(hit_here() == 0);
    CHECK(in_child(hit_here) == child_end{EIO, 0});
    CHECK(fail_point::hits() == 3);
}

TEST_CASE("who is held stands still until it is released") {
    const prefork::test::leaks leak_guard;
    const disarmed_at_end guard;
    fail_point::arm(here, action::hold);
    const auto began = prefork::base::monotonic::now();
    const pid_t child = prefork::test::fork_child([] {
        fail_point::pass("worker.claimed");
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
    fail_point::arm(here, action::hold);
    std::thread held{[] { fail_point::pass("worker.claimed"); }};
    const bool arrived = until([] { return fail_point::hits() == 1; });
    fail_point::disarm();
    held.join();
    CHECK(arrived);
}

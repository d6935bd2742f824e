#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <new>
#include <string>
#include <vector>

#include "base/tick.hpp"
#include "process/control.hpp"
#include "process/worker_loop.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"
#include "support/own_cgroup.hpp"
#include "support/surroundings.hpp"

// docs/surroundings.md, "clocks". CLOCK_REALTIME is set, by hand or by NTP: here in all processes
// of the test, by standing before the C library's call, never on the machine. CLOCK_MONOTONIC can't
// be set; it goes on while nobody runs, as in a virtual machine that is paused: a frozen cgroup.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::expect;
using pf::test::expect_error;
using pf::test::in_surroundings;
using pf::test::own_cgroup;

namespace {

/// Seconds that CLOCK_REALTIME is off, of every process.
std::atomic<long>& offset() {
    static auto* const shared =
        new (::mmap(nullptr, sizeof(std::atomic<long>), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<long>{0};
    return *shared;
}

}  // namespace

// What std::chrono::system_clock asks.
extern "C" int clock_gettime(clockid_t clock, timespec* to) noexcept {
    const long result = ::syscall(SYS_clock_gettime, clock, to);
    if (result == 0 && clock == CLOCK_REALTIME) to->tv_sec += offset().load();
    return static_cast<int>(result);
}

TEST_CASE("the time of day jumps by years, and no task, deadline or log line notices") {
    constexpr long ten_years = 10L * 365 * 86'400;
    static_cast<void>(offset());  // before the fork, so that all have the same
    CHECK(in_surroundings([] {
              pf::test::log_lines lines;
              pf::pool pool{{.workers = 2, .timeout = 30s}};
              const auto now = [] { return std::chrono::system_clock::now().time_since_epoch(); };
              const auto before = now();
              int logged = 0;
              for (const long jump : {ten_years, -ten_years, 3600L, -1L, 0L}) {
                  auto running =
                      pool.with({.deadline = pf::base::monotonic::now() + 30s})
                          .submit([](int n) { return pf::log(pf::level::info, "{}", n), n; },
                                  logged);
                  offset() = jump;
                  expect(running.get_for(30s) == logged++, "a result is wrong");
                  expect(pool.submit([] {
                                 return std::chrono::system_clock::now().time_since_epoch();
                             }).get_for(30s) -
                                 before >
                             std::chrono::seconds(jump) - 60s,
                         "the jump was none for workers");
                  pf::test::use(pool);
              }
              expect(pf::test::until([&] { return lines.all().size() >= 5; }), "a line is lost");
          }) == "");
}

TEST_CASE(
    "a machine that is paused for longer than every limit: those are over, and no more is lost") {
    pf::test::with_cgroup("freezer", own_cgroup::freeze, [](const own_cgroup& machine) {
        CHECK(in_surroundings([&] {
                  int busy[2];  // the host says so
                  int awake[2];
                  expect(::pipe(busy) == 0 && ::pipe(awake) == 0, "pipe");
                  const pid_t host = pf::test::fork_child([&] {
                      machine.enter();
                      static int wakes;
                      wakes = awake[0];
                      pf::pool pool{{.workers = 2, .grace = 0ms, .keep_fds = {awake[0]}}};
                      auto limited = pool.with({.timeout = 1s}).submit(pf::test::hang);
                      auto free = pool.submit([] {
                          char byte = 0;
                          return ::read(wakes, &byte, 1) == 1 ? byte : '?';
                      });
                      auto dated = pool.with({.deadline = pf::base::monotonic::now() + 1s})
                                       .submit(pf::test::add, 1, 2);
                      auto waits = pool.submit(pf::test::add, 3, 4);
                      static_cast<void>(!::write(busy[1], "b", 1));
                      try {
                          expect_error<pf::task_timeout>([&] { limited.get_for(30s); },
                                                         {"1000 ms"});
                          expect_error<pf::task_expired>([&] { dated.get_for(30s); }, {""});
                          expect(waits.get_for(30s) == 7 && free.get_for(30s) == 'w', "wrong");
                          expect(pf::test::until([&] { return pool.stats().lost_workers == 1; }),
                                 "lost workers: " + std::to_string(pool.stats().lost_workers));
                          pf::test::use(pool);
                      } catch (const std::exception& e) {
                          static_cast<void>(!::write(pf::test::failure_fd, e.what(),
                                                     std::string(e.what()).size()));
                      }
                      return 0;
                  });
                  char said = 0;
                  expect(::read(busy[0], &said, 1) == 1, "no host");
                  machine.hold(true);
                  static_cast<void>(
                      pf::base::wait_readable(busy[0], pf::base::monotonic::now() + 2s));
                  machine.hold(false);
                  expect(::write(awake[1], "w", 1) == 1, "write");
                  expect(pf::test::wait_for_child(host, 60s) == pf::test::child_end{}, "it hangs");
              }) == "");
    });
}

TEST_CASE("a counter that is behind, another CPU's or machine's, ends no task before its time") {
    CHECK(in_surroundings([] {
              static int ends[2];
              static int noted[2];
              expect(::pipe(ends) == 0 && ::pipe(noted) == 0, "pipe");
              pf::pool pool{{.workers = 2, .grace = 0ms, .keep_fds = {ends[0], noted[1]}}};
              auto ahead = pool.with({.timeout = 60s}).submit([] {
                  constexpr unsigned seats = 2 * 2 + 8;  // make_memory() in pool.cpp
                  const auto& region = pf::process::worker_loop::current()->region();
                  const pf::process::control words{region.control(), seats};
                  for (unsigned seat = 0; seat < seats; ++seat) {
                      // As a CPU would note it whose counter is some minutes ahead of the
                      // monitor's.
                      words.journal_of(seat).started = pf::base::ticks() + (std::uint64_t{1} << 40);
                  }
                  char byte = 'n';
                  static_cast<void>(!::write(noted[1], &byte, 1));
                  return ::read(ends[0], &byte, 1) == 1 ? byte : '?';
              });
              char said = 0;
              expect(::read(noted[0], &said, 1) == 1, "it doesn't run");
              // By the end of that, the monitor has looked at both.
              auto late = pool.with({.timeout = 100ms}).submit(pf::test::hang);
              expect_error<pf::task_timeout>([&] { late.get_for(30s); }, {"100 ms"});
              expect(::write(ends[1], "w", 1) == 1, "write");
              expect(ahead.get_for(30s) == 'w', "it has no result");
          }) == "");
}

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <stdexcept>
#include <string>

#include "base/fail_point.hpp"
#include "process/fork_server.hpp"
#include "process/host.hpp"
#include "support/catch.hpp"
#include "support/until.hpp"

// What the server does for its host and with its workers, seen from the host's end.

using namespace prefork;
using namespace prefork::test;
using process::fork_server;
using process::message_kind;
using process::worker_start;

namespace {

struct family {
    std::atomic<pid_t> in_group;
    std::atomic<pid_t> in_session;
};

// One grandchild in the worker's group, and a daemon that has left it.
int raise_a_family(const worker_start& me, family& pids) {
    if (::fork() == 0) {
        if (::fork() == 0) {
            ::setsid();
            pids.in_session = ::getpid();
            wait_for_ever();
        }
        pids.in_group = ::getpid();
        wait_for_ever();
    }
    static_cast<void>(until([&] { return pids.in_group != 0 && pids.in_session != 0; }));
    return idle_worker(me);
}

void lose_a_family(bool stop) {
    const shared<family> pids;
    fork_server server{options([&](const worker_start& me) { return raise_a_family(me, *pids); })};
    const started_worker worker = start(server);
    const auto in_group = base::pidfd_open(pids->in_group);
    const auto in_session = base::pidfd_open(pids->in_session);
    if (stop) {
        server.stop(base::monotonic::now() + std::chrono::seconds(10));
    } else {
        ::kill(worker.pid, SIGKILL);
    }
    expect(ends(worker.pidfd), "the worker lives");
    expect(ends(in_group), "the grandchild in its group lives");
    expect(ends(in_session), "the grandchild in a session of its own lives");
}

}  // namespace

TEST_CASE("grandchildren die with their worker, in its group or not") {
    CHECK(in_new_process([] { lose_a_family(false); }) == "");
    CHECK(in_new_process([] { lose_a_family(true); }) == "");
}

TEST_CASE("grandchildren die with their worker on a kernel that does not list children") {
    base::fail_point::arm("server.children", base::fail_point::action::fail, 1, 1000, ENOENT);
    CHECK(in_new_process([] { lose_a_family(false); }) == "");
    CHECK(in_new_process([] { lose_a_family(true); }) == "");
    CHECK(base::fail_point::hits() > 0);
    base::fail_point::disarm();
}

TEST_CASE("a worker has 0, 1, 2, keep_fds and its report open, and then not its report") {
    struct facts {
        bool before, after;
    };
    CHECK(in_new_process([] {
              const base::unique_fd kept{::open("/dev/null", O_RDONLY)};
              const base::unique_fd other{::open("/dev/null", O_RDONLY)};
              const shared<facts> seen;
              auto how = options([&](const worker_start& me) {
                  std::vector<int> expected{0, 1, 2, kept.get(), me.report_fd};
                  std::sort(expected.begin(), expected.end());
                  seen->before = open_descriptors() == expected;
                  process::report_started(me);
                  seen->after = open_descriptors() == std::vector<int>{0, 1, 2, kept.get()};
                  return 0;
              });
              how.keep_fds = {kept.get(), 250};  // 250 is not open
              fork_server server{how};
              for (unsigned worker = 0; worker < 2; ++worker) {
                  server.fork_worker(worker, worker);
                  next(server, message_kind::reaped);
                  expect(seen->before, "others before the report");
                  expect(seen->after, "others after the report");
                  *seen = {};
              }
          }) == "");
}

TEST_CASE("signals to the host's group end neither server nor workers") {
    CHECK(in_new_process([] {
              ::setpgid(0, 0);
              fork_server server{options()};
              const started_worker worker = start(server);
              for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
                  ::signal(signal, SIG_IGN);
                  ::kill(0, signal);
              }
              ::kill(worker.pid, SIGINT);
              start(server, 1, 1);
              expect(!base::pidfd_ended(worker.pidfd.get()), "the worker ended");
          }) == "");
}

TEST_CASE("a worker's reason for a failed start arrives, cut to fit, before its end") {
    CHECK(in_new_process([] {
              fork_server server{options([](const worker_start& me) {
                  process::report_start_failed(
                      me, me.index == 0 ? std::string("no database") : std::string(2000, 'x'));
                  return 3;
              })};
              server.fork_worker(5, 0);
              const auto failed = next(server, message_kind::start_failed);
              expect(failed.what.seat == 5, "another seat");
              expect(std::string(failed.what.text) == "no database", "another text");
              const auto gone = next(server, message_kind::reaped);
              expect(gone.what.code == CLD_EXITED && gone.what.status == 3, "another status");
              server.fork_worker(6, 1);
              const auto cut = next(server, message_kind::start_failed);
              expect(std::string(cut.what.text) == std::string(sizeof cut.what.text - 1, 'x'),
                     "not cut");
          }) == "");
}

TEST_CASE("a worker can neither speak for another one nor say what only the server says") {
    CHECK(in_new_process([] {
              fork_server server{options([](const worker_start& me) {
                  const auto kind = me.index == 0 ? message_kind::reaped : message_kind::started;
                  const process::message lie{kind, 77, 1, CLD_KILLED, SIGKILL, 0, {}};
                  static_cast<void>(base::write_all(me.report_fd, &lie, sizeof lie));
                  return 0;
              })};
              server.fork_worker(0, 0);
              auto gone = next(server, message_kind::reaped);
              expect(gone.what.seat == 0 && gone.what.code == CLD_EXITED, "the lie was told");
              server.fork_worker(1, 1);
              expect(next(server, message_kind::started).what.seat == 1, "the lie was told");
          }) == "");
}

TEST_CASE("an exception that leaves worker_main is exit status 70, a signal is that signal") {
    CHECK(in_new_process([] {
              fork_server server{options([](const worker_start& me) -> int {
                  if (me.index == 0) throw std::runtime_error("nobody catches it");
                  ::raise(SIGTERM);
                  return 0;
              })};
              server.fork_worker(0, 0);
              auto gone = next(server, message_kind::reaped);
              expect(gone.what.code == CLD_EXITED && gone.what.status == 70, "not 70");
              server.fork_worker(0, 1);
              gone = next(server, message_kind::reaped);
              expect(gone.what.code == CLD_KILLED && gone.what.status == SIGTERM, "no SIGTERM");
          }) == "");
}

TEST_CASE("a fork that the kernel refuses is told with its errno, and the next one works") {
    base::fail_point::arm("server.fork", base::fail_point::action::fail, 1, 1, ENOMEM);
    CHECK(in_new_process([] {
              fork_server server{options()};
              server.fork_worker(4, 0);
              const auto refused = next(server, message_kind::fork_failed);
              expect(refused.what.seat == 4 && refused.what.code == ENOMEM, "another error");
              start(server);
          }) == "");
    base::fail_point::disarm();
}

TEST_CASE("255 workers can be asked for before the first answer is read") {
    CHECK(in_new_process([] {
              fork_server server{options([](const worker_start&) { return 0; })};
              for (unsigned i = 0; i < 255; ++i) expect(server.fork_worker(i, i), "refused");
              for (unsigned i = 0; i < 255; ++i) next(server, message_kind::reaped);
          }) == "");
}

TEST_CASE("a server whose host has stopped reading still ends in order") {
    CHECK(in_new_process([] {
              const shared<family> pids;
              const shared<std::atomic<unsigned>> forked;
              fork_server server{options([&](const worker_start& me) {
                  ++*forked;
                  return me.index == 0 ? raise_a_family(me, *pids) : 0;
              })};
              start(server);
              const auto in_session = base::pidfd_open(pids->in_session);
              for (unsigned i = 1; i < 250; ++i) server.fork_worker(i, i);
              expect(until([&] { return *forked > 80; }), "no workers");
              const auto begin = base::monotonic::now();
              server.stop(begin + std::chrono::seconds(9));
              expect(base::monotonic::now() - begin < std::chrono::seconds(5), "it was killed");
              expect(ends(in_session), "a grandchild lives");
          }) == "");
}

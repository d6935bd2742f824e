#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/own_cgroup.hpp"
#include "support/sanitizer.hpp"
#include "support/surroundings.hpp"

// docs/surroundings.md, "the host itself": what a program may have done to itself before it makes a
// pool, or while it has one.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::expect;
using pf::test::in_surroundings;
using pf::test::make;
using pf::test::use_a_pool;

namespace {

void close_standard_streams() {
    for (const int fd : {0, 1, 2}) ::close(fd);
}

bool none_open_below_three() {
    for (const int fd : {0, 1, 2}) {
        if (::fcntl(fd, F_GETFD) >= 0) return false;
    }
    return true;
}

}  // namespace

TEST_CASE("a host may be set up in any way, and its pool works and leaves nothing behind") {
    struct habit {
        const char* name;
        void (*take_on)();
    };
    const habit habits[] = {
        {"SIGCHLD is ignored", [] { ::signal(SIGCHLD, SIG_IGN); }},
        {"its children are reaped by the kernel",
         [] {
             struct sigaction none {};
             none.sa_flags = SA_NOCLDWAIT;
             none.sa_handler = SIG_DFL;
             ::sigaction(SIGCHLD, &none, nullptr);
         }},
        {"all signals are blocked",
         [] {
             sigset_t all;
             ::sigfillset(&all);
             ::sigprocmask(SIG_SETMASK, &all, nullptr);
         }},
        {"SIGPIPE is ignored", [] { ::signal(SIGPIPE, SIG_IGN); }},
        {"its umask allows nothing", [] { ::umask(0777); }},
        {"its working directory is gone",
         [] {
             char name[] = "/tmp/prefork-test-XXXXXX";
             make(::mkdtemp(name) != nullptr && ::chdir(name) == 0 && ::rmdir(name) == 0, "/tmp");
         }},
        {"its environment has 8 MiB",
         [] {
             for (int i = 0; i < 8; ++i) {
                 const std::string name = "PREFORK_TEST_" + std::to_string(i);
                 ::setenv(name.c_str(), std::string(1u << 20, 'x').c_str(), 1);
             }
         }},
        {"it has no environment", [] { ::clearenv(); }},
        {"it can't be dumped, nor its /proc be read", [] { ::prctl(PR_SET_DUMPABLE, 0); }},
        {"it may gain no privileges", [] { ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }},
        {"it is an unprivileged user, who can't be dumped",
         [] {
             make(::setuid(61'185) == 0, "setuid");
             ::prctl(PR_SET_DUMPABLE, 0);
         }},
        {"it is nice", [] { make(::setpriority(PRIO_PROCESS, 0, 19) == 0, "setpriority"); }},
        {"it runs when nobody else does",
         [] {
             const sched_param none{};
             make(::sched_setscheduler(0, SCHED_IDLE, &none) == 0, "SCHED_IDLE");
         }},
        {"it has one CPU",
         [] {
             cpu_set_t set;
             ::sched_getaffinity(0, sizeof set, &set);
             int first = 0;
             while (!CPU_ISSET(first, &set)) ++first;
             CPU_ZERO(&set);
             CPU_SET(first, &set);
             make(::sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
         }},
        {"it has no huge pages", [] { ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }},
        {"it is a subreaper", [] { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }},
        {"it dies with its parent", [] { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }},
        {"it leads a session", [] { ::setsid(); }},
    };
    for (const habit& each : habits) {
        CAPTURE(each.name);
        CHECK(in_surroundings([&] {
                  each.take_on();
                  const pf::test::leaks none_left;
                  use_a_pool();
                  expect(pf::test::until([&] { return none_left.left().empty(); }),
                         none_left.left());
              }) == "");
    }
}

TEST_CASE(
    "a host that has locked all its memory, now and in future, doesn't lock what it reserves") {
    if (pf::test::sanitized()) return;  // whose shadow has 20 TiB
    using pf::test::own_cgroup;
    // Where it would be ended, were it wrong, and not the machine.
    pf::test::with_cgroup("memory", own_cgroup::memory_limit, [](const own_cgroup& small) {
        small.limit_memory(256u << 20);
        CHECK(in_surroundings([&] {
                  small.enter();
                  make(::mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
                  use_a_pool();
              }) == "");
    });
}

TEST_CASE("a host without standard streams has none after: what is printed hits nothing of ours") {
    CHECK(in_surroundings([] {
              close_standard_streams();
              pf::pool pool{{.workers = 2}};
              const auto prints_into_nothing = [] {
                  return ::write(0, "x", 1) < 0 && ::write(1, "x", 1) < 0 && ::write(2, "x", 1) < 0;
              };
              expect(none_open_below_three(), "one of the host's is open");
              expect(pool.submit(prints_into_nothing).get_for(30s), "one of a worker's is open");
              pf::test::use(pool);  // crashes: pidfds of replacements
              expect(none_open_below_three(), "one of the host's was opened");
              expect(pool.submit(prints_into_nothing).get_for(30s), "one of a worker's was opened");
              std::thread other{[] {}};  // with others at the fork, in two steps
              pool.refresh();
              other.join();
              pf::test::use(pool);
              expect(none_open_below_three(), "one of the host's was opened at refresh()");
          }) == "");
}

TEST_CASE("standard streams that are closed while a pool works are not taken by it") {
    CHECK(in_surroundings([] {
              pf::pool pool{{.workers = 2}};
              close_standard_streams();
              pf::test::use(pool);
              pool.refresh();
              pf::test::use(pool);
              expect(none_open_below_three(), "one was opened");
          }) == "");
}

TEST_CASE("the thread that made a pool may end, and its workers live on") {
    CHECK(in_surroundings([] {
              std::optional<pf::pool> pool;
              std::thread{[&] { pool.emplace(pf::pool_options{.workers = 2}); }}.join();
              const auto pid = [] { return ::getpid(); };
              const pid_t first = pool->submit(pid).get_for(30s);
              pf::test::use(*pool);
              std::thread{[&] { pool->refresh(); }}.join();
              expect(pool->submit(pid).get_for(30s) != first, "refresh() made none");
              pf::test::use(*pool);
              std::thread{[&] { pool.reset(); }}.join();
          }) == "");
}

TEST_CASE("a host whose main thread has ended makes pools and uses them") {
    CHECK(in_surroundings([] {
              static std::string failed;
              std::thread{[main = ::pthread_self()] {
                  ::pthread_join(main, nullptr);
                  try {
                      pf::pool pool{{.workers = 2, .worker_memory_limit = 256u << 20}};
                      pf::test::use(pool);
                      pool.refresh();
                      pf::test::use(pool);
                  } catch (const std::exception& e) {
                      failed = e.what();
                  }
                  static_cast<void>(!::write(pf::test::failure_fd, failed.data(), failed.size()));
                  ::_exit(0);
              }}.detach();
              ::syscall(SYS_exit, 0);  // this thread, not the process, and nothing is unwound
          }) == "");
}

TEST_CASE("a host that is traced with all its children, as by strace -f, has a pool that works") {
    CHECK(in_surroundings([] {
              int ends[2];
              expect(::pipe(ends) == 0, "pipe");
              const pid_t host = pf::test::fork_child([&] {
                  char go = 0;
                  if (::read(ends[0], &go, 1) != 1) return 1;
                  try {
                      use_a_pool();
                  } catch (const std::exception& e) {
                      static_cast<void>(
                          !::write(pf::test::failure_fd, e.what(), std::string(e.what()).size()));
                  }
                  return 0;
              });
              constexpr long follow = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                      PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
              make(::ptrace(PTRACE_SEIZE, host, nullptr, follow) == 0, "ptrace");
              expect(::write(ends[1], "g", 1) == 1, "write");
              for (int status = 0;;) {
                  const pid_t stopped = ::waitpid(-1, &status, __WALL);
                  if (stopped < 0 && errno == ECHILD) return;
                  if (!WIFSTOPPED(status)) continue;
                  // Events and group stops have no signal of their own to deliver.
                  const long signal = status >> 16 != 0 ? 0 : WSTOPSIG(status);
                  ::ptrace(PTRACE_CONT, stopped, nullptr, signal);
              }
          }) == "");
}

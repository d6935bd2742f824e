#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/sanitizer.hpp"
#include "support/surroundings.hpp"

// docs/surroundings.md, "files and namespaces": what a container or a sandbox may lack.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::expect;
using pf::test::expect_error;
using pf::test::hide;
using pf::test::in_surroundings;
using pf::test::make;
using pf::test::own_mounts;
using pf::test::use_a_pool;

namespace {

void no_proc() {
    own_mounts();
    hide("/proc");
}

/// The fork server has so many children and waits for what is next.
bool has_forked_all(pid_t server, int children) {
    const std::string self = "/proc/" + std::to_string(server);
    std::istringstream list{
        pf::base::read_small_file(self + "/task/" + std::to_string(server) + "/children")};
    int count = 0;
    for (pid_t each = 0; list >> each;) ++count;
    return count == children &&
           pf::base::read_small_file(self + "/stat").find(") S ") != std::string::npos;
}

/// The rest runs as PID 1 of a namespace of its own; its exit status is what is looked at.
template <class Body>
void as_pid_one(Body body) {
    pf::test::unshare(CLONE_NEWPID);
    const std::string failed = in_surroundings([&] {
        expect(::getpid() == 1, "it isn't PID 1");
        body();
    });
    expect(failed.empty(), failed);
}

/// A sanitizer ends the process by itself where it finds no /proc, and so tells another end of a
/// worker than the crash was.
bool needs_proc_itself() { return pf::test::sanitized(); }

}  // namespace

TEST_CASE("a read-only root file system is all the same to a pool") {
    CHECK(in_surroundings([] {
              own_mounts();
              mount_attr read_only{};
              read_only.attr_set = MOUNT_ATTR_RDONLY;
              make(::mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof read_only) == 0,
                   "mount_setattr");
              expect(::open("/tmp/prefork-test", O_CREAT | O_WRONLY, 0600) < 0, "/tmp is writable");
              use_a_pool();
          }) == "");
}

TEST_CASE("a pool doesn't use /dev/shm: of 64 KiB, or none, it takes 8 MiB of arguments") {
    const auto take = [] {
        pf::pool pool{{.workers = 1, .memory_budget = 16u << 20}};
        const auto size = [](const std::string& text) { return text.size(); };
        expect(pool.submit(size, std::string(8u << 20, 'x')).get_for(30s) == 8u << 20, "too few");
        pf::test::use(pool);
    };
    CHECK(in_surroundings([&] {
              own_mounts();
              hide("/dev/shm", "size=64k");
              take();
          }) == "");
    CHECK(in_surroundings([&] {
              own_mounts();
              hide("/dev");  // no /dev/null either
              take();
          }) == "");
}

TEST_CASE("without /proc a pool works, and refuses what it needs /proc for") {
    if (needs_proc_itself()) return;
    CHECK(in_surroundings([] {
              no_proc();
              use_a_pool();
          }) == "");
    CHECK(in_surroundings([] {
              no_proc();
              expect_error<std::system_error>(
                  [] { pf::pool{{.workers = 1, .worker_memory_limit = 1u << 20}}; },
                  {"worker_memory_limit", "/proc"});
          }) == "");
}

TEST_CASE("in an empty root directory a pool works") {
    if (needs_proc_itself()) return;
    CHECK(in_surroundings([] {
              own_mounts();
              hide("/mnt");
              make(::chroot("/mnt") == 0 && ::chdir("/") == 0, "chroot");
              use_a_pool();
          }) == "");
}

TEST_CASE("as PID 1 of a PID namespace a pool works, and nothing is left to reap") {
    CHECK(in_surroundings([] {
              as_pid_one([] {
                  own_mounts();
                  make(::mount("proc", "/proc", "proc", 0, nullptr) == 0, "mount of /proc");
                  use_a_pool({.workers = 2, .worker_memory_limit = 256u << 20});
                  expect(::waitpid(-1, nullptr, WNOHANG | __WALL) < 0 && errno == ECHILD,
                         "a child is left");
              });
          }) == "");
}

TEST_CASE("PID 1 doesn't inherit the workers of a fork server that was killed as zombies") {
    CHECK(in_surroundings([] {
              as_pid_one([] {
                  own_mounts();
                  make(::mount("proc", "/proc", "proc", 0, nullptr) == 0, "mount of /proc");
                  {
                      pf::pool pool{{.workers = 2}};
                      const auto server = [&] {
                          return pool.submit([] { return ::getppid(); }).get_for(30s);
                      };
                      const pid_t first = server();
                      // One that it forks at this moment would be known to nobody.
                      expect(pf::test::until([&] { return has_forked_all(first, 3); }), "no spare");
                      expect(::kill(first, SIGKILL) == 0, "kill");
                      expect(pf::test::until([&] {
                                 try {
                                     return server() != first;
                                 } catch (const pf::worker_lost&) {
                                     return false;
                                 }
                             }),
                             "no other fork server");
                      pf::test::use(pool);
                  }
                  // Spares too may be on their way.
                  expect(::waitpid(-1, nullptr, WNOHANG | __WALL) < 0 && errno == ECHILD,
                         "a child is left");
              });
          }) == "");
}

TEST_CASE("with the /proc of another PID namespace a pool works, and kills nobody by number") {
    CHECK(in_surroundings([] {
              as_pid_one([] {
                  use_a_pool();
                  expect_error<std::system_error>(
                      [] { pf::pool{{.workers = 1, .worker_memory_limit = 1u << 20}}; },
                      {"worker_memory_limit", "/proc"});
              });
          }) == "");
}

TEST_CASE("a host whose children belong to another PID namespace is told that it has no threads") {
    CHECK(in_surroundings([] {
              pf::test::unshare(CLONE_NEWPID);
              expect_error<std::system_error>([] { pf::pool{{.workers = 1}}; }, {"monitor"});
          }) == "");
}

TEST_CASE("workers with other clocks than the host are refused, and the same clocks are not") {
    CHECK(in_surroundings([] {
              pf::test::unshare(CLONE_NEWTIME);
              pf::test::write_file("/proc/self/timens_offsets", "monotonic 3600 0");
              expect_error<std::system_error>([] { pf::pool{{.workers = 1}}; },
                                              {"clock", "CLONE_NEWTIME", "fork once"});
              // As it says:
              const std::string failed = in_surroundings([] {
                  use_a_pool();
                  pf::pool pool{{.workers = 1, .timeout = 20s}};
                  auto view = pool.with({.deadline = pf::base::monotonic::now() + 20s});
                  expect(view.submit(pf::test::add, 1, 2).get_for(30s) == 3, "wrong");
              });
              expect(failed.empty(), failed);
          }) == "");
}

TEST_CASE("in a user namespace without a mapping a pool works") {
    CHECK(in_surroundings([] {
              pf::test::unshare(CLONE_NEWUSER);
              use_a_pool();
          }) == "");
}

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/own_cgroup.hpp"
#include "support/sanitizer.hpp"
#include "support/surroundings.hpp"

// docs/surroundings.md, "limits": an error that names what is missing, and recovery once it is
// there.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::expect;
using pf::test::expect_error;
using pf::test::in_surroundings;
using pf::test::make;
using pf::test::use_a_pool;

namespace {

void limit(__rlimit_resource what, rlim_t to, pid_t process = 0) {
    rlimit both{};
    make(::prlimit(process, what, nullptr, &both) == 0, "prlimit");
    both.rlim_cur = to;
    make(::prlimit(process, what, &both, nullptr) == 0, "prlimit");
}

pid_t server_of(pf::pool& pool) {
    return pool.submit([] { return ::getppid(); }).get_for(30s);
}

void crash(pf::pool& pool) { pf::test::expect_crash(pool, SIGKILL); }

/// Fails each of those system calls with `error`, for this process and its children, for good.
void refuse(const std::vector<long>& calls, int error) {
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const long each : calls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(each), 0, 1));
        program.push_back(
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    make(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
             ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0,
         "a seccomp filter");
}

}  // namespace

// ---- descriptors

TEST_CASE(
    "with 16 descriptors a pool works, with fewer its constructor says what it had none for") {
    CHECK(in_surroundings([] {
              limit(RLIMIT_NOFILE, 16);
              use_a_pool();
          }) == "");
    CHECK(in_surroundings([] {
              const pf::test::leaks none_left;
              for (rlim_t few = 16; few-- > 3;) {
                  limit(RLIMIT_NOFILE, few);
                  std::string said = few < 9 ? "nothing" : "";
                  try {
                      pf::pool{{.workers = 2}};
                  } catch (const std::system_error& e) {
                      said = e.what();
                      expect(e.code().value() == EMFILE, said);
                  } catch (const pf::worker_start_failed& e) {
                      said = e.what();
                  }
                  expect(said.empty() || said.find("Too many open files") != std::string::npos,
                         "with " + std::to_string(few) + ": " + said);
              }
              limit(RLIMIT_NOFILE, 64);
              use_a_pool();
              expect(none_left.left().empty(), none_left.left());
          }) == "");
}

TEST_CASE("a host without a descriptor for a new worker serves with those it has, and recovers") {
    CHECK(in_surroundings([] {
              pf::pool pool{{.workers = 2, .grace = 0ms}};
              limit(RLIMIT_NOFILE, 3);  // of the host alone
              crash(pool);
              for (int i = 0; i < 100; ++i) {
                  expect(pool.submit(pf::test::add, i, 1).get_for(30s) == i + 1, "wrong");
              }
              auto hang = pool.with({.timeout = 50ms}).submit(pf::test::hang);
              expect_error<pf::task_timeout>([&] { hang.get_for(30s); }, {"timeout"});
              limit(RLIMIT_NOFILE, 64);
              pf::test::use(pool);
          }) == "");
}

// ---- processes

TEST_CASE("at the limit of processes a pool serves with those it has, and replaces when it can") {
    using pf::test::own_cgroup;
    pf::test::with_cgroup("pids", own_cgroup::processes_limit, [](const own_cgroup& few) {
        const auto allow = [&](const char* most) { few.set(own_cgroup::processes_limit, most); };
        CHECK(
            in_surroundings([&] {
                few.enter();
                allow("1");
                expect_error<std::system_error>(
                    [] { pf::pool{{.workers = 1}}; },
                    {"fork server", "Resource temporarily unavailable"});
                allow("3");
                expect_error<pf::worker_start_failed>([] { pf::pool{{.workers = 2}}; },
                                                      {"fork", "Resource temporarily unavailable"});
                allow("max");

                pf::pool pool{{.workers = 2}};
                const auto are = [&](const char* count) {
                    return pf::test::until([&] { return few.get(own_cgroup::processes) == count; });
                };
                expect(are("6\n"), "not: host, monitor, fork server, two workers, a spare");
                allow("3");
                crash(pool);
                crash(pool);  // the spare's end
                expect(pool.submit(pf::test::add, 1, 2).get_for(30s) == 3, "the last one is idle");
                expect(pf::test::until([&] { return !pool.healthy(); }), "one too few is healthy");
                crash(pool);
                // Nobody is left: an error in the end, and then it recovers.
                expect_error<pf::pool_broken>(
                    [&] { pool.submit(pf::test::add, 1, 2).get_for(60s); },
                    {"fork", "Resource temporarily unavailable"});
                allow("max");
                expect(pf::test::until([&] { return pool.healthy(); }, 30s), "it stays broken");
                pf::test::use(pool);
            }) == "");
    });
}

TEST_CASE("a user's limit of processes, reached while a worker is replaced, costs nothing else") {
    CHECK(in_surroundings([] {
              constexpr uid_t nobody_else = 61'184;  // no other process counts towards its limit
              make(::setgroups(0, nullptr) == 0 && ::setgid(nobody_else) == 0 &&
                       ::setuid(nobody_else) == 0,
                   "setuid");
              pf::pool pool{{.workers = 2}};
              const pid_t server = server_of(pool);
              limit(RLIMIT_NPROC, 1, server);
              crash(pool);
              for (int i = 0; i < 100; ++i) {
                  expect(pool.submit(pf::test::add, i, 1).get_for(30s) == i + 1, "wrong");
              }
              limit(RLIMIT_NPROC, 100, server);
              pf::test::use(pool);
          }) == "");
}

// ---- sizes

TEST_CASE("with a limit on address space, a pool reserves less of it") {
    if (pf::test::sanitized()) return;  // whose shadow has 20 TiB
    CHECK(in_surroundings([] {
              limit(RLIMIT_AS, 1u << 30);
              use_a_pool();
          }) == "");
    CHECK(in_surroundings([] {
              limit(RLIMIT_AS, 64u << 20);
              // 128 MiB of slots:
              expect_error<std::system_error>(
                  [] { pf::pool{{.workers = 2, .queue_limit = 600'000}}; },
                  {"mmap", "Cannot allocate memory"});
              limit(RLIMIT_AS, 1u << 30);
              use_a_pool();
          }) == "");
}

TEST_CASE("limits on files, stacks and core dumps: a pool works, or says which is too small") {
    CHECK(in_surroundings([] {
              limit(RLIMIT_CORE, 0);
              limit(RLIMIT_SIGPENDING, 0);
              limit(RLIMIT_MEMLOCK, 0);
              limit(RLIMIT_MSGQUEUE, 0);
              limit(RLIMIT_FSIZE, 256u << 20);
              use_a_pool();
          }) == "");
    CHECK(in_surroundings([] {
              limit(RLIMIT_FSIZE, 1u << 20);
              expect_error<std::system_error>([] { pf::pool{{.workers = 2}}; },
                                              {"RLIMIT_FSIZE", "File too large"});
              limit(RLIMIT_FSIZE, RLIM_INFINITY);
              use_a_pool();
          }) == "");
}

TEST_CASE("lowered while a pool works, a limit on files doesn't touch it") {
    CHECK(in_surroundings([] {
              pf::pool pool{{.workers = 2, .memory_budget = 64u << 20}};
              limit(RLIMIT_FSIZE, 0);
              limit(RLIMIT_FSIZE, 0, server_of(pool));
              const auto size = [](const std::string& text) { return text.size(); };
              expect(pool.submit(size, std::string(8u << 20, 'x')).get_for(30s) == 8u << 20, "no");
              pf::test::use(pool);
          }) == "");
}

// ---- system calls that a sandbox refuses

TEST_CASE("what a pool can't do without is named when a sandbox refuses it") {
    struct call {
        std::vector<long> numbers;
        std::vector<std::string> said;
    };
    // fork() is clone() in glibc; clone3() is for threads, with clone() behind it.
    const std::vector<call> calls{
        {{SYS_memfd_create}, {"memfd_create"}},
        {{SYS_pidfd_open}, {"pidfd_open"}},
        {{SYS_eventfd2}, {"eventfd"}},
        {{SYS_socketpair}, {"socketpair"}},
        {{SYS_ftruncate}, {"ftruncate"}},
        {{SYS_fallocate}, {"fallocate"}},
        {{SYS_clone}, {"clone for the fork server"}},
    };
    for (const call& each : calls) {
        for (const int error : {EPERM, ENOSYS}) {
            CAPTURE(each.said, error);
            CHECK(in_surroundings([&] {
                      refuse(each.numbers, error);
                      expect_error<std::system_error>([] { pf::pool{{.workers = 2}}; }, each.said);
                  }) == "");
        }
    }
    CHECK(in_surroundings([] {
              refuse({SYS_signalfd4}, EPERM);
              expect_error<pf::worker_start_failed>([] { pf::pool{{.workers = 2}}; }, {"signalfd"});
          }) == "");
}

TEST_CASE("what a pool can do without may be refused by a sandbox, all of it") {
    for (const int error : {EPERM, ENOSYS}) {
        CAPTURE(error);
        CHECK(in_surroundings([&] {
                  refuse({SYS_close_range, 449 /* futex_waitv */, SYS_setpriority,
                          SYS_sched_setaffinity, SYS_pidfd_send_signal},
                         error);
                  use_a_pool();
                  // Killed by its parent, where the host may not.
                  pf::pool pool{{.workers = 1, .grace = 0ms}};
                  auto hang = pool.with({.timeout = 50ms}).submit(pf::test::hang);
                  expect_error<pf::task_timeout>([&] { hang.get_for(30s); }, {"timeout"});
                  expect(pool.submit(pf::test::add, 1, 2).get_for(30s) == 3, "wrong");
              }) == "");
    }
}

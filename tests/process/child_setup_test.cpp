#include "process/child_setup.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "process/host.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"

using namespace prefork;
using namespace prefork::test;

namespace {

// What ps shows: the name of the process's first thread.
std::string name_here() {
    std::string name = base::read_small_file("/proc/self/comm");
    if (!name.empty()) name.pop_back();
    return name;
}

std::string named(std::string_view pool, std::string_view part) {
    process::name_process(pool, part);
    return name_here();
}

// Runs `body` in a child that has become a worker.
template <class Body>
child_end in_worker(Body body, int keep = -1) {
    return in_child([&] {
        const process::worker_start start{3, 7, ::getppid(), STDERR_FILENO};
        process::become_child(start, "pool", {keep});
        return body() ? 0 : 1;
    });
}

}  // namespace

TEST_CASE("a name is cut at the pool's part, never at the worker's") {
    CHECK(in_new_process([] {
              expect(named("render", "3") == "render/3", "short");
              expect(named("render-service", "3") == "render-servic/3", "15 bytes");
              expect(named("a very long name", "server") == "a very l/server", "cut");
              expect(named("", "12") == "/12", "empty");
          }) == "");
}

TEST_CASE("a worker leads a group, has a name, default signals and none blocked") {
    CHECK(in_worker([] {
              sigset_t blocked;
              ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
              struct sigaction interrupt {};
              struct sigaction terminate {};
              ::sigaction(SIGINT, nullptr, &interrupt);
              ::sigaction(SIGTERM, nullptr, &terminate);
              return ::getpgrp() == ::getpid() && name_here() == "pool/7" &&
                     ::sigisemptyset(&blocked) == 1 && interrupt.sa_handler == SIG_IGN &&
                     terminate.sa_handler == SIG_DFL;
          }) == child_end{});
}

TEST_CASE("a worker is killed when its server ends") {
    CHECK(in_worker([] {
              int signal = 0;
              ::prctl(PR_GET_PDEATHSIG, &signal);
              return signal == SIGKILL;
          }) == child_end{});
}

TEST_CASE("a worker whose server is gone already ends before anything runs in it") {
    const child_end end = in_child([] {
        const process::worker_start start{0, 0, ::getpid(), STDERR_FILENO};
        process::become_child(start, "pool", {});
        return 1;
    });
    CHECK(end == child_end{});
}

TEST_CASE("close_all_but leaves 0, 1, 2 and what it is told, in any order") {
    CHECK(in_child([] {
              const int first = ::open("/dev/null", O_RDONLY);
              const int second = ::dup(first);
              const int third = ::dup(first);
              const int far = ::fcntl(first, F_DUPFD, 200);
              process::close_all_but({far, first, -1, 1, third, third});
              const bool gone = ::fcntl(second, F_GETFD) < 0;
              return gone && open_descriptors() == std::vector<int>{0, 1, 2, first, third, far} ? 0
                                                                                                : 1;
          }) == child_end{});
}

TEST_CASE("a data limit lets a worker grow by so much, and then allocation fails") {
#ifdef __SANITIZE_ADDRESS__
    return;  // its allocator maps what it likes
#endif
    const auto can_have = [](std::size_t bytes) {
        return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
               MAP_FAILED;
    };
    CHECK(in_child([&] {
              process::limit_data(64 << 20);
              return can_have(32 << 20) && !can_have(64 << 20) ? 0 : 1;
          }) == child_end{});
    CHECK(in_child([&] {
              process::limit_data(0);
              return can_have(65 << 20) ? 0 : 1;
          }) == child_end{});
}

TEST_CASE("a worker's oom_score_adj is 500 above the host's, at most 1000") {
    const auto score = [] {
        return std::atol(base::read_small_file("/proc/self/oom_score_adj").c_str());
    };
    const long host = score();
    CHECK(in_child([&] {
              process::raise_oom_score();
              if (score() != std::min(host + 500, 1000L)) return 1;
              process::raise_oom_score();
              process::raise_oom_score();
              return score() == 1000 ? 0 : 2;
          }) == child_end{});
}

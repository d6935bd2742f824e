#include "process/fork_server.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <memory>
#include <stop_token>
#include <system_error>
#include <thread>

#include "base/fail_point.hpp"
#include "process/host.hpp"
#include "support/catch.hpp"
#include "support/sanitizer.hpp"
#include "support/until.hpp"

using namespace prefork;
using namespace prefork::test;
using process::fork_server;
using process::message_kind;
using process::worker_start;

namespace {

/// A second thread for as long as this lives: the server is then made in two steps.
class bystander {
  public:
    bystander()
        : thread_([this] {
              while (!stop_) std::this_thread::yield();
          }) {}
    ~bystander() {
        stop_ = true;
        thread_.join();
    }

  private:
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

std::atomic<int> child_signals{0};
void count_child_signal(int) { ++child_signals; }

void use_and_lose_a_worker() {
    fork_server server{options()};
    const started_worker worker = start(server);
    ::kill(worker.pid, SIGKILL);
    const auto gone = next(server, message_kind::reaped);
    expect(gone.what.pid == worker.pid, "another worker was reaped");
    expect(::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD, "waitpid(-1) saw a child");
}

}  // namespace

TEST_CASE("a host with one thread gets no SIGCHLD and finds no child with waitpid(-1)") {
    CHECK(in_new_process([] {
              ::signal(SIGCHLD, count_child_signal);
              use_and_lose_a_worker();
              expect(child_signals == 0, "a SIGCHLD came");
          }) == "");
}

TEST_CASE("a host with more threads gets no SIGCHLD and finds no child with waitpid(-1)") {
    CHECK(in_new_process([] {
              ::signal(SIGCHLD, count_child_signal);
              std::atomic<bool> stop{false};
              std::atomic<int> found{0};
              std::thread reaper([&] {
                  while (!stop) found += !(::waitpid(-1, nullptr, 0) == -1 && errno == ECHILD);
              });
              for (int i = 0; i < 20; ++i) use_and_lose_a_worker();
              stop = true;
              reaper.join();
              expect(found == 0, "the other thread found a child");
              expect(child_signals == 0, "a SIGCHLD came");
          }) == "");
}

TEST_CASE("a host that ignores SIGCHLD leaves no zombie and still hears of deaths") {
    CHECK(in_new_process([] {
              ::signal(SIGCHLD, SIG_IGN);
              use_and_lose_a_worker();
              const bystander other;
              use_and_lose_a_worker();
          }) == "");
}

TEST_CASE("a host that is a subreaper with threads is left no zombie") {
    CHECK(in_new_process([] {
              ::prctl(PR_SET_CHILD_SUBREAPER, 1);
              const bystander other;
              const fork_server server{options()};
          }) == "");
}

TEST_CASE("a server made while eight threads allocate has a heap that works") {
    if (prefork::test::fork_loses_heap_locks()) return;
    CHECK(in_new_process([] {
              std::vector<std::jthread> hammers;
              for (int i = 0; i < 8; ++i) {
                  hammers.emplace_back([](const std::stop_token& stop) {
                      while (!stop.stop_requested()) {
                          std::vector<std::string>(50, std::string(3000, 'x')).clear();
                      }
                  });
              }
              for (int i = 0; i < 20; ++i) {
                  fork_server server{options([](const worker_start& me) {
                      std::vector<std::string>(1000, std::string(500, 'x')).clear();
                      return idle_worker(me);
                  })};
                  start(server);
              }
          }) == "");
}

namespace {

std::size_t use_stack(int depth) {
    volatile char frame[64 * 1024];
    frame[0] = static_cast<char>(depth);
    return depth == 0 ? 0 : use_stack(depth - 1) + static_cast<std::size_t>(frame[0] != 0);
}

bool is_on_known_stack() {
    pthread_attr_t about;
    void* lowest = nullptr;
    std::size_t size = 0;
    ::pthread_getattr_np(::pthread_self(), &about);
    ::pthread_attr_getstack(&about, &lowest, &size);
    ::pthread_attr_destroy(&about);
    const auto* const here = static_cast<const char*>(__builtin_frame_address(0));
    return here >= lowest && here < static_cast<char*>(lowest) + size;
}

bool knows_its_cpu() {
    for (const int cpu : {0, 1, 0}) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(static_cast<unsigned>(cpu), &one);
        if (::sched_setaffinity(0, sizeof one, &one) != 0) continue;  // not ours to use
        if (::sched_getcpu() != cpu) return false;
    }
    return true;
}

int check_surroundings(const worker_start&) {
    if (use_stack(64) > 64) return 1;  // 4 MiB of the usual 8
    if (!is_on_known_stack()) return 2;
    return knows_its_cpu() ? 0 : 3;
}

}  // namespace

TEST_CASE("a worker of a host with threads has a whole stack and knows its CPU") {
    CHECK(in_new_process([] {
              const bystander other;
              fork_server server{options(check_surroundings)};
              server.fork_worker(0, 0);
              const auto gone = next(server, message_kind::reaped);
              expect(gone.what.code == CLD_EXITED, "it crashed");
              expect(gone.what.status != 1 && gone.what.status != 2, "a foreign stack");
              expect(gone.what.status == 0, "sched_getcpu() is stale");
          }) == "");
}

TEST_CASE("what prepare sets in the server holds for its workers") {
    CHECK(in_new_process([] {
              cpu_set_t whole;
              ::sched_getaffinity(0, sizeof whole, &whole);
              const shared<cpu_set_t> seen;
              std::thread([&] {
                  cpu_set_t one;
                  CPU_ZERO(&one);
                  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
                  ::sched_setaffinity(0, sizeof one, &one);
                  auto how = options([&](const worker_start& me) {
                      ::sched_getaffinity(0, sizeof *seen, &*seen);
                      return idle_worker(me);
                  });
                  how.prepare = [&] { ::sched_setaffinity(0, sizeof whole, &whole); };
                  fork_server server{how};
                  start(server);
              }).join();
              expect(CPU_EQUAL(&whole, &*seen), "the mask of the constructing thread was kept");
          }) == "");
}

TEST_CASE("when the host is killed, server and workers are gone at once") {
    struct facts {
        std::atomic<pid_t> server, worker, heir;
    };
    for (const bool threads : {false, true}) {
        const shared<facts> told;
        const pid_t host = ::fork();
        if (host == 0) {
            const auto other = threads ? std::make_unique<bystander>() : nullptr;
            fork_server server{options()};
            told->worker = start(server).pid;
            told->server = server.pid();
            // It keeps the host's end of the socket open.
            if (const pid_t heir = ::fork(); heir != 0) told->heir = heir;
            wait_for_ever();
        }
        REQUIRE(until([&] { return told->heir != 0; }));
        const auto server = base::pidfd_open(told->server);
        const auto worker = base::pidfd_open(told->worker);
        ::kill(host, SIGKILL);
        CHECK(base::pidfd_ended(server.get(), std::chrono::seconds(2)));
        CHECK(base::pidfd_ended(worker.get(), std::chrono::seconds(2)));
        ::kill(told->heir, SIGKILL);
        ::waitpid(host, nullptr, 0);
    }
}

TEST_CASE("when the server is killed, workers die and the host is told") {
    CHECK(in_new_process([] {
              fork_server server{options()};
              const started_worker worker = start(server);
              ::kill(server.pid(), SIGKILL);
              expect(ends(worker.pidfd), "the worker lives");
              expect(base::wait_readable(server.socket(), base::never), "nothing to read");
              expect(base::pidfd_ended(server.pidfd(), std::chrono::seconds(10)), "not ended");
              expect(!server.receive(), "a message from the dead");
              expect(!server.fork_worker(1, 1), "the dead took a request");
          }) == "");
}

namespace {

void expect_refusal(const char* place, const char* what) {
    base::fail_point::arm(place, base::fail_point::action::fail, 1, 1, EMFILE);
    std::string said;
    try {
        const fork_server server{options()};
    } catch (const std::system_error& e) {
        if (e.code().value() == EMFILE) said = e.what();
    }
    base::fail_point::disarm();
    expect(said == std::string(what) + ": " + std::strerror(EMFILE), what);
}

}  // namespace

TEST_CASE("a constructor that fails names the call and leaves nothing behind") {
    CHECK(in_new_process([] {
              expect_refusal("fork_server.socketpair", "socketpair for the fork server");
              expect_refusal("fork_server.pidfd_open", "pidfd_open for the fork server");
              expect_refusal("fork_server.clone", "clone for the fork server");
          }) == "");
    CHECK(in_new_process([] {
              const bystander other;
              expect_refusal("fork_server.clone", "clone for the fork server");
              expect_refusal("fork_server.fork", "fork for the fork server");
              expect_refusal("fork_server.server_pidfd_open", "pidfd_open for the fork server");
          }) == "");
}

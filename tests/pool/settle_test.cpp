#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "prefork/prefork.hpp"
#include "process/worker_loop.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/sleeps.hpp"
#include "support/until.hpp"

namespace pf = prefork;
using pf::base::fail_point;
using namespace std::chrono_literals;

namespace {

int raise_signal(int signal) {
    ::raise(signal);
    ::pause();
    return 0;
}
int leave(int status) { ::_exit(status); }
int forever() {
    for (;;) ::pause();
}
int twice(int x) { return 2 * x; }
std::size_t length(const std::string& of) { return of.size(); }

/// In memory that is shared with the workers of a pool that is made later.
template <class T>
class shared_word {
  public:
    shared_word()
        : word_(static_cast<std::atomic<T>*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
    ~shared_word() { ::munmap(word_, sizeof(T)); }
    shared_word(const shared_word&) = delete;
    shared_word& operator=(const shared_word&) = delete;
    [[nodiscard]] std::atomic<T>& operator*() const { return *word_; }

  private:
    std::atomic<T>* word_;
};

/// The slot of the task with this position, in a worker: every process maps it at one address.
std::uint64_t slot_at(std::uint64_t position) {
    const auto slots = pf::process::worker_loop::current()->region().ring();
    return reinterpret_cast<std::uint64_t>(slots.data()) + position * sizeof(pf::ring::slot);
}

bool is_stopped(pid_t process) {
    std::string field;
    std::ifstream{"/proc/" + std::to_string(process) + "/stat"} >> field >> field >> field;
    return field == "T";
}

constexpr int may_die = 2;

/// Commits its own task by hand, once it may, and dies before the wake that it owes.
int die_after_commit(std::uint64_t slot, std::uint64_t may_commit) {
    const auto& go = *reinterpret_cast<std::atomic<int>*>(may_commit);
    while (go == 0) ::sched_yield();
    auto& word = reinterpret_cast<pf::ring::slot*>(slot)->word;
    word = pf::ring::slot_word{word}.with(pf::ring::state::done).bits();
    while (go != may_die) ::sched_yield();
    return raise_signal(SIGKILL);
}

}  // namespace

TEST_CASE("a worker that dies loses the task it ran, and nothing else") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    std::vector<pf::future<int>> before;
    for (int i = 0; i < 100; ++i) before.push_back(pool.submit(twice, i));
    auto lost = pool.submit(raise_signal, SIGKILL);
    std::vector<pf::future<int>> after;
    for (int i = 0; i < 100; ++i) after.push_back(pool.submit(twice, i));
    for (int i = 0; i < 100; ++i) {
        CHECK(before[static_cast<std::size_t>(i)].get() == 2 * i);
        CHECK(after[static_cast<std::size_t>(i)].get() == 2 * i);
    }
    try {
        lost.get();
        FAIL("the task's result came from nowhere");
    } catch (const pf::worker_lost& e) {
        CHECK(e.signal() == SIGKILL);
        CHECK(e.attempts() == 1);
        CHECK(e.killed_by() == pf::killer::stranger);
        CHECK(std::string(e.what()).find("SIGKILL (task 100, attempt 1 of 1)") !=
              std::string::npos);
    }
    CHECK(pool.stats().lost_workers == 1);
}

TEST_CASE("the error says how the worker ended") {
    pf::pool pool{{.workers = 1}};
    try {
        pool.submit(leave, 3).get();
        FAIL("no error");
    } catch (const pf::worker_lost& e) {
        CHECK(e.signal() == 0);
        CHECK(e.exit_status() == 3);
        CHECK(e.killed_by() == pf::killer::none);
        CHECK(std::string(e.what()).find("exit status 3") != std::string::npos);
    }
    try {
        pool.submit(raise_signal, SIGABRT).get();
        FAIL("no error");
    } catch (const pf::worker_lost& e) {
        CHECK(e.signal() == SIGABRT);
        CHECK(e.killed_by() == pf::killer::none);
    }
}

TEST_CASE(
    "a task that kills every worker is tried as often as allowed, then is lost with the count") {
    pf::pool pool{{.workers = 2, .retries = 2}};
    try {
        pool.submit(raise_signal, SIGKILL).get();
        FAIL("no error");
    } catch (const pf::worker_lost& e) {
        CHECK(e.attempts() == 3);
    }
    CHECK(pool.stats().retried == 2);
    CHECK(pool.submit(twice, 4).get() == 8);
}

TEST_CASE("a retried task has its arguments unharmed, inline and in a block") {
    const std::size_t size = GENERATE(std::size_t{10}, std::size_t{100'000});
    pf::pool_options options{.workers = 1, .retries = 1};
    fail_point::arm("worker.before_commit", fail_point::action::die);
    pf::pool pool{options};
    const std::string text(size, 'q');
    const auto echo = [](const std::string& same) { return same; };
    CHECK(pool.submit(echo, text).get() == text);
    CHECK(pool.stats().retried == 1);
    fail_point::disarm();
}

TEST_CASE("a task claimed by a worker that dies before it starts runs elsewhere, once") {
    fail_point::arm("worker.claimed", fail_point::action::die);
    pf::pool pool{{.workers = 2}};
    CHECK(pool.submit(twice, 21).get() == 42);  // no retry is allowed, and none is needed
    CHECK(pool.stats().retried == 0);
    fail_point::disarm();
}

TEST_CASE("a worker that dies between its commit and the wake of the caller costs nothing") {
    fail_point::arm("commit.before_wake", fail_point::action::die);
    pf::pool pool{{.workers = 1, .idle = pf::idle::park}};
    const auto slow = [] {
        timespec time{0, 20'000'000};
        ::nanosleep(&time, nullptr);
        return 42;
    };
    CHECK(pool.submit(slow).get_for(10s) == 42);
    fail_point::disarm();
}

TEST_CASE("a task over its timeout ends with task_timeout, and its worker is replaced") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .timeout = 30ms, .grace = 0ms}};
    REQUIRE_THROWS_AS(pool.submit(forever).get(), pf::task_timeout);
    CHECK(pool.submit(twice, 1).get() == 2);
    REQUIRE_THROWS_AS(pool.with({.timeout = 10ms}).submit(forever).get(), pf::task_timeout);
    CHECK(pool.stats().timeouts == 2);
}

TEST_CASE("a worker that leaves the late task within the grace is not killed for it") {
    pf::pool pool{{.workers = 1, .grace = 5s}};
    const auto slow = [] {
        timespec time{0, 80'000'000};
        ::nanosleep(&time, nullptr);
        return ::getpid();
    };
    const auto pid = pool.submit(slow).get();
    REQUIRE_THROWS_AS(pool.with({.timeout = 10ms}).submit(slow).get(), pf::task_timeout);
    CHECK(pool.submit(slow).get() == pid);
}

TEST_CASE("cancel ends a waiting task before it starts and a running one with its worker") {
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto running = pool.submit(forever);
    auto waiting = pool.submit(twice, 1);
    CHECK(waiting.cancel());
    REQUIRE_THROWS_AS(waiting.get(), pf::cancelled);
    CHECK(running.cancel());
    REQUIRE_THROWS_AS(running.get(), pf::cancelled);
    auto done = pool.submit(twice, 3);
    done.wait();
    CHECK_FALSE(done.cancel());
    CHECK(done.get() == 6);
}

TEST_CASE("cancel_all gives up what waits, kill_all what runs") {
    pf::pool pool{{.workers = 1}};
    auto running = pool.submit(forever);
    REQUIRE(pf::test::until([&] { return pool.stats().submitted == 1; }));
    std::vector<pf::future<int>> waiting;
    for (int i = 0; i < 10; ++i) waiting.push_back(pool.submit(twice, i));
    // The first may have been given up while it still waited, or may run.
    const auto given_up = pool.cancel_all();
    CHECK(given_up >= 10);
    for (auto& each : waiting) REQUIRE_THROWS_AS(each.get(), pf::cancelled);
    if (given_up == 10) CHECK(pool.kill_all() == 1);
    REQUIRE_THROWS_AS(running.get(), pf::cancelled);
    CHECK(pool.submit(twice, 5).get() == 10);
}

// The address sanitizer ends a process that is out of memory instead of throwing bad_alloc.
#ifndef __SANITIZE_ADDRESS__
TEST_CASE(
    "a worker over its memory limit gets bad_alloc first, and an error that says so after that") {
    pf::pool pool{{.workers = 1, .worker_memory_limit = 64u << 20}};
    const auto hog = [](std::size_t bytes) {
        std::vector<char> memory(bytes, 'x');
        return memory[bytes / 2];
    };
    CHECK(pool.submit(hog, 1u << 20).get() == 'x');
    REQUIRE_THROWS_AS(pool.submit(hog, 256u << 20).get(), std::bad_alloc);
    CHECK(pool.submit(hog, 1u << 20).get() == 'x');
}

#endif

TEST_CASE("memory that a task's children hold counts, and ends its worker with memory_exceeded") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .worker_memory_limit = 64u << 20, .name = "render"}};
    const auto hide = [] {
        const pid_t child = ::fork();
        const std::vector<char> memory(48u << 20, 'x');
        for (;;) ::pause();
        return static_cast<int>(child) + memory[0];
    };
    try {
        pool.submit(hide).get_for(20s);
        FAIL("no error");
    } catch (const pf::memory_exceeded& e) {
        CHECK(e.killed_by() == pf::killer::memory_limit);
        CHECK(e.signal() == SIGKILL);
        CHECK_THAT(e.what(), pf::test::containing("worker 0 of pool 'render' lost: SIGKILL"));
        CHECK_THAT(e.what(), pf::test::containing("it had grown by "));
        CHECK_THAT(e.what(), pf::test::containing("beyond the worker_memory_limit of 67108864"));
    }
    CHECK(pool.submit(twice, 2).get_for(20s) == 4);
}

TEST_CASE("workers are recycled after their number of tasks, and no task is lost by it") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .max_tasks_per_worker = 8}};
    std::vector<pf::future<int>> results;
    for (int i = 0; i < 500; ++i) results.push_back(pool.submit(twice, i));
    for (int i = 0; i < 500; ++i) REQUIRE(results[static_cast<std::size_t>(i)].get() == 2 * i);
    CHECK(pool.stats().lost_workers == 0);
}

TEST_CASE("a task that is given up and leaves within the grace is counted once") {
    pf::pool pool{{.workers = 1, .grace = 10s, .name = "render"}};
    const auto until_stopped = [](std::stop_token stop) {
        while (!stop.stop_requested()) {
        }
        return 1;
    };
    for (int i = 0; i < 3; ++i) {
        auto late = pool.with({.timeout = 5ms}).submit(until_stopped);
        REQUIRE_THROWS_WITH(late.get_for(10s), pf::test::containing(" of pool 'render' ran for "));
        auto stopped = pool.submit(until_stopped);
        while (stopped.cancel() == false) ::usleep(100);
        REQUIRE_THROWS_AS(stopped.get_for(10s), pf::cancelled);
        CHECK(pool.submit(twice, i).get_for(10s) == 2 * i);  // it has left the others
    }
    const pf::pool_stats now = pool.stats();
    CHECK(now.submitted == 9);
    CHECK(now.completed == 3);
    CHECK(now.failed == 6);
    CHECK(now.lost_workers == 0);
}

TEST_CASE("a task whose worker is stopped ends: after its timeout, at its deadline, or elsewhere") {
    const pf::test::leaks none_left;
    const auto stop = [](int) { return ::raise(SIGSTOP); };
    SECTION("running") {
        pf::pool pool{{.workers = 1, .grace = 10ms}};
        REQUIRE_THROWS_AS(pool.with({.timeout = 20ms}).submit(stop, 0).get_for(10s),
                          pf::task_timeout);
        CHECK(pool.submit(twice, 2).get_for(10s) == 4);
    }
    SECTION("waiting") {
        pf::pool pool{{.workers = 1}};
        const pid_t worker = pool.submit([] { return ::getpid(); }).get();
        REQUIRE(::kill(worker, SIGSTOP) == 0);
        const auto soon = std::chrono::steady_clock::now() + 50ms;
        auto waits = pool.with({.timeout = 20ms, .deadline = soon}).submit(twice, 1);
        REQUIRE_THROWS_AS(waits.get_for(10s), pf::task_expired);
        REQUIRE(::kill(worker, SIGCONT) == 0);
        CHECK(pool.submit(twice, 2).get_for(10s) == 4);
    }
    SECTION("claimed, and not begun") {
        fail_point::arm("worker.claimed", fail_point::action::hold);
        pf::pool pool{{.workers = 1}};
        CHECK(pool.with({.timeout = 20ms}).submit(twice, 2).get_for(8s) == 4);
        CHECK(pool.stats().timeouts == 0);
        fail_point::disarm();
    }
}

/// A thread that waits for a task as the pool does, but for the slices in which that looks again by
/// itself.
class unsliced_waiter {
  public:
    explicit unsliced_waiter(pf::ring::slot& slot) {
        const auto word = [&] { return pf::ring::slot_word{slot.word}; };
        CHECK(pf::test::until([&] { return word().state() == pf::ring::state::claimed; }));
        const auto waited = word().with_waited(true);
        slot.word = waited.bits();
        thread_ = std::thread{[this, &slot, waited] {
            std::atomic_ref{id_} = ::gettid();
            result_ = pf::base::futex_wait(slot.futex(), waited.low_half(),
                                           pf::base::monotonic::now() + 10s);
        }};
        CHECK(pf::test::until([&] { return pf::test::sleeps(std::atomic_ref{id_}); }));
    }
    ~unsliced_waiter() {
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] bool was_woken() {
        thread_.join();
        return result_ == pf::base::futex_result::woken;
    }

  private:
    pid_t id_ = 0;
    pf::base::futex_result result_ = pf::base::futex_result::timed_out;
    std::thread thread_;
};

TEST_CASE("whoever waits for a task is woken when its worker dies between commit and wake") {
    const shared_word<int> may_commit;
    pf::pool pool{{.workers = 1}};
    const std::uint64_t at = pool.submit(slot_at, std::uint64_t{1}).get();
    auto task = pool.submit(die_after_commit, at, reinterpret_cast<std::uint64_t>(&*may_commit));
    unsliced_waiter waiter{*reinterpret_cast<pf::ring::slot*>(at)};
    *may_commit = may_die;
    CHECK(waiter.was_woken());
    CHECK_THROWS_AS(task.get_for(20s), pf::decode_error);  // it wrote no result
}

TEST_CASE("a second thread that waits is woken too, when the first takes the result before that") {
    const shared_word<int> may_commit;
    pf::pool pool{{.workers = 1}};
    const std::uint64_t at = pool.submit(slot_at, std::uint64_t{1}).get();
    auto task = pool.submit(die_after_commit, at, reinterpret_cast<std::uint64_t>(&*may_commit));
    pid_t id = 0;
    std::thread drains{[&] {
        std::atomic_ref{id} = ::gettid();
        pool.drain();
    }};
    CHECK(pf::test::until([&] { return pf::test::sleeps(std::atomic_ref{id}); }));
    unsliced_waiter waiter{*reinterpret_cast<pf::ring::slot*>(at)};
    *may_commit = 1;
    while (!task.ready()) {
    }
    CHECK_THROWS_AS(task.get(), pf::decode_error);
    *may_commit = may_die;
    CHECK(waiter.was_woken());
    drains.join();
}

TEST_CASE("a task that is cancelled as it expires gives its arguments back") {
    fail_point::arm("worker.claimed", fail_point::action::stop);
    pf::pool pool{{.workers = 1, .memory_budget = 64 << 20}};
    const auto worker = pool.stats().workers.at(0).pid;
    const std::string more_than_a_quarter(20 << 20, 'x');
    const auto deadline = std::chrono::steady_clock::now() + 1s;
    auto task = pool.with({.deadline = deadline}).submit(length, more_than_a_quarter);
    REQUIRE(pf::test::until([&] { return is_stopped(worker); }));
    CHECK(task.cancel());
    CHECK_THROWS_AS(task.get(), pf::cancelled);
    REQUIRE(pf::test::until([&] { return std::chrono::steady_clock::now() > deadline; }));
    ::kill(worker, SIGCONT);
    // Without them this waits for room until the test's limit.
    CHECK(pool.submit(length, more_than_a_quarter).get_for(20s) == more_than_a_quarter.size());
    fail_point::disarm();
}

TEST_CASE("a queue isn't full because a task that ran for long waits for another run") {
    const pf::test::leaks none_left;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    {
        pf::pool pool{{.workers = 2,
                       .queue_limit = 8,
                       .when_full = pf::overflow::fail,
                       .keep_fds = {ends[0]}}};
        const auto dies_once = [](int waits, pid_t host) {
            char byte = 0;
            static_cast<void>(!::read(waits, &byte, 1));
            if (byte == 'd') ::raise(SIGKILL);
            return host;
        };
        auto old = pool.with({.retries = 1}).submit(dies_once, ends[0], ::getpid());
        for (int i = 0; i < 200; ++i) REQUIRE(pool.submit(twice, i).get_for(20s) == 2 * i);
        pool.pause();
        REQUIRE(::write(ends[1], "d", 1) == 1);
        REQUIRE(pf::test::until([&] { return pool.stats().retried == 1; }));
        auto next = pool.try_submit(twice, 4);
        CHECK(next.has_value());
        pool.resume();
        REQUIRE(::write(ends[1], "g", 1) == 1);
        CHECK(old.get_for(20s) == ::getpid());
        if (next) CHECK(next->get_for(20s) == 8);
    }
    for (const int fd : ends) ::close(fd);
}

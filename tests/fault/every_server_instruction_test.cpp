#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "prefork/prefork.hpp"
#include "process/child_setup.hpp"
#include "support/all_work.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/log_lines.hpp"
#include "support/process_family.hpp"
#include "support/stepper.hpp"
#include "support/steps.hpp"

// design.md §6, "fork server dies": it forks, reaps, hands over reports and stops, and is killed
// after the 1st, 2nd, 3rd ... machine instruction of that. The host makes another one, what ran
// ends exactly once, and no process stays.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::base::fail_point;
using pf::test::children_of;
using pf::test::is_gone;
using pf::test::stepper;

namespace {

constexpr std::size_t sample = 12;  // of the instructions, but for an exhaustive run

struct notes {
    std::atomic<unsigned> runs;
    std::atomic<std::uint32_t> released;
};

notes& noted() {
    static auto* const shared = static_cast<notes*>(
        ::mmap(nullptr, sizeof(notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    return *shared;
}

void release() {
    noted().released = 1;
    pf::base::futex_wake(&noted().released, 1 << 20);
}
int run_until_released() {
    ++noted().runs;
    while (noted().released == 0) pf::base::futex_wait(&noted().released, 0, pf::base::never);
    return 42;
}

struct processes {
    pid_t worker;
    pid_t child;
};
/// A child in the worker's group, which ends when somebody ends it.
processes fork_a_child() {
    const pid_t child = ::fork();
    if (child == 0) {
        for (;;) ::pause();
    }
    return {::getpid(), child};
}

/// One that runs until it is released.
pf::future<int> start_long_task(pf::pool& pool) {
    noted().runs = 0;
    noted().released = 0;
    auto task = pool.submit(run_until_released);
    REQUIRE(pf::test::until([] { return noted().runs == 1; }, 20s));
    return task;
}

// Without a fork server their parent is init, or the nearest subreaper.
void check_ended(const std::vector<pid_t>& pids) {
    for (const pid_t pid : pids) {
        CAPTURE(pid);
        CHECK(pf::test::until([&] { return pf::test::has_ended(pid); }, 20s));
    }
}

pf::pool_options two_workers() {
    return {.workers = 2,
            .idle = pf::idle::park,
            .grace = 1ms,
            .name = "st" + std::to_string(::getpid())};
}

// ---- one that dies while the pool goes on

pid_t server_of(pf::pool& pool) {
    return pool.submit([] { return ::getppid(); }).get_for(20s);
}

/// Two workers, both there, and the spare.
bool is_whole(pf::pool& pool, pid_t server) {
    const auto workers = pool.stats().workers;
    const auto children = children_of(server);
    return workers.size() == 2 && children.size() == 3 &&
           std::all_of(workers.begin(), workers.end(), [&](const auto& each) {
               return std::find(children.begin(), children.end(), each.pid) != children.end();
           });
}

/// A worker is killed, and its child; the spare has its place and says so, and another spare is
/// forked. Meanwhile a task runs.
class replacement {
  public:
    explicit replacement(pf::pool& pool) : pool_(pool), server_(server_of(pool)) {
        REQUIRE(pf::test::until([&] { return is_whole(pool, server_); }, 20s));
        // Otherwise they would die young, and their successors come later each time.
        REQUIRE(pf::test::all_work(pool, 2));
        task_ = start_long_task(pool);
        victim_ = pool.submit(fork_a_child).get_for(20s);
        REQUIRE(pf::test::until([&] { return pf::test::state_of(server_) == 'S'; }, 20s));
    }
    [[nodiscard]] pid_t server() const noexcept { return server_; }
    void begin() {
        before_ = children_of(server_);
        ::kill(victim_.worker, SIGKILL);
    }
    [[nodiscard]] bool over(const stepper& server) {
        return server.at_system_call(SYS_poll) && is_gone(victim_.worker) &&
               is_whole(pool_, server_);
    }
    void finish_whole() {
        release();
        CHECK(task_.get_for(20s) == 42);
        CHECK(noted().runs == 1);
        check_ended({victim_.worker, victim_.child});
    }
    /// Of the server, which is dead.
    void finish(std::vector<pid_t> children) {
        release();
        try {
            const int got = task_.get_for(20s);
            CHECK(got == 42);
        } catch (const pf::worker_lost& lost) {
            CHECK(lost.attempts() == 1);
        }
        CHECK(noted().runs == 1);
        children.insert(children.end(), before_.begin(), before_.end());
        children.insert(children.end(), {server_, victim_.worker, victim_.child});
        check_ended(children);
        const pid_t next = server_of(pool_);
        CHECK(next != server_);
        CHECK(pf::test::until([&] { return is_whole(pool_, next); }, 20s));
    }

  private:
    pf::pool& pool_;
    pid_t server_;
    pf::future<int> task_;
    processes victim_{};
    std::vector<pid_t> before_;
};

std::size_t length_of_replacement() {
    pf::pool pool{two_workers()};
    replacement round{pool};
    std::size_t length = 0;
    {
        stepper server{round.server()};
        round.begin();
        while (server.step()) {
            ++length;
            if (round.over(server)) break;
        }
    }
    round.finish_whole();
    return length;
}

bool kill_in_replacement(pf::pool& pool, std::size_t instructions) {
    replacement round{pool};
    stepper server{round.server()};
    round.begin();
    std::size_t at = 0;
    while (at < instructions && (at == 0 || !round.over(server)) && server.step()) ++at;
    const std::vector<pid_t> children = children_of(round.server());
    server.kill();
    round.finish(children);
    return at == instructions;
}

void print(const char* what, std::size_t kills, std::size_t length, std::size_t reached) {
    std::printf("covered: %s: %zu kills on a way of %zu instructions, %zu of them where planned\n",
                what, kills, length, reached);
}

// ---- one that dies as its pool ends

/// What a round of the pool's end is about: the destructor runs in a thread of its own.
class ending {
  public:
    ending() : pool_(std::make_unique<pf::pool>(two_workers())), server_(server_of(*pool_)) {
        task_ = start_long_task(*pool_);
        REQUIRE(pf::test::until([&] { return is_whole(*pool_, server_); }, 20s));
        REQUIRE(pf::test::until([&] { return pf::test::state_of(server_) == 'S'; }, 20s));
        children_ = children_of(server_);
    }
    [[nodiscard]] pid_t server() const noexcept { return server_; }
    /// The server is stopped, and the pool's end has begun: what kills the server now kills no
    /// task.
    void begin() {
        ended_ = std::async(std::launch::async, [this] { pool_.reset(); });
        REQUIRE(pf::test::until([&] { return task_.ready(); }, 20s));
    }
    void finish() {
        REQUIRE(ended_.wait_for(30s) == std::future_status::ready);
        ended_.get();
        REQUIRE_THROWS_AS(task_.get_for(20s), pf::cancelled);
        CHECK(noted().runs == 1);
        children_.push_back(server_);
        check_ended(children_);
    }

  private:
    std::unique_ptr<pf::pool> pool_;
    pid_t server_;
    pf::future<int> task_;
    std::vector<pid_t> children_;
    std::future<void> ended_;
};

/// All the way, or until `instructions` have run; how many did.
std::size_t step_to_the_end(std::size_t instructions) {
    ending round;
    std::size_t at = 0;
    {
        stepper server{round.server()};
        round.begin();
        while (at < instructions && server.step()) ++at;
        server.kill();
    }
    round.finish();
    return at;
}

// ---- one that dies as its pool is made

/// By its name, since nobody has its number yet.
pid_t find_server(const std::string& name) {
    const std::string whole = pf::process::name_of(name, "server").data();
    for (const auto& each : std::filesystem::directory_iterator{"/proc"}) {
        std::ifstream file{each.path() / "comm"};
        std::string found;
        if (std::getline(file, found) && found == whole) {
            // Its predecessor's zombie has the same name.
            const pid_t pid = std::stoi(each.path().filename().string());
            if (!pf::test::has_ended(pid)) return pid;
        }
    }
    return 0;
}

/// The constructor runs in a thread of its own; the server stands before its first fork.
class construction {
  public:
    construction() {
        fail_point::arm("server.fork", fail_point::action::hold);
        made_ = std::async(std::launch::async,
                           [] { return std::make_unique<pf::pool>(two_workers()); });
        REQUIRE(pf::test::until([&] { return fail_point::hits() == 1; }, 20s));
        REQUIRE(
            pf::test::until([&] { return (server_ = find_server(two_workers().name)) != 0; }, 20s));
        REQUIRE(pf::test::until([&] { return pf::test::state_of(server_) == 'S'; }, 20s));
    }
    [[nodiscard]] pid_t server() const noexcept { return server_; }
    void begin() { fail_point::release(); }
    [[nodiscard]] bool over(const stepper& server) const {
        return server.at_system_call(SYS_poll) && children_of(server_).size() == 3 &&
               made_.wait_for(0s) == std::future_status::ready;
    }
    /// It may have been made all the same, with another server.
    bool finish(std::vector<pid_t> children) {
        REQUIRE(made_.wait_for(30s) == std::future_status::ready);
        bool made = false;
        try {
            const auto pool = made_.get();
            made = true;
            CHECK(pool->submit([](int x) { return x + 1; }, 1).get_for(20s) == 2);
        } catch (const pf::worker_start_failed&) {
        } catch (const pf::pool_broken&) {
        }
        fail_point::disarm();
        children.push_back(server_);
        check_ended(children);
        return made;
    }

  private:
    pid_t server_ = 0;
    std::future<std::unique_ptr<pf::pool>> made_;
};

}  // namespace

TEST_CASE("a fork server that dies after any instruction of a reap, a report and a fork") {
    pf::test::require_stepping();
    noted().runs = 0;  // mapped now, before anything is forked
    const pf::test::leaks none_left;
    const std::size_t length = length_of_replacement();
    const auto steps = pf::test::steps_to_try(length, sample);
    std::size_t reached = 0;
    for (std::size_t at = 0; at < steps.size();) {
        constexpr std::size_t kills_per_pool = 50;
        pf::pool pool{two_workers()};
        for (std::size_t i = 0; i < kills_per_pool && at < steps.size(); ++i, ++at) {
            CAPTURE(steps[at], length);
            reached += kill_in_replacement(pool, steps[at]);
        }
    }
    print("a fork server that replaces a worker", steps.size(), length, reached);
    CHECK(reached * 10 >= steps.size() * 9);
}

TEST_CASE("a fork server that dies after any instruction of the end of its pool") {
    pf::test::require_stepping();
    noted().runs = 0;
    const pf::test::leaks none_left;
    // Workers end in any order, some at once, some later: a way of its own each time.
    std::size_t length = ~std::size_t{0};
    for (int i = 0; i < 5; ++i) length = std::min(length, step_to_the_end(~std::size_t{0}));
    const auto steps = pf::test::steps_to_try(length, sample);
    std::size_t reached = 0;
    for (const std::size_t at : steps) {
        CAPTURE(at, length);
        // A way may be shorter still, and has ended by itself then: once more.
        bool met = false;
        for (int attempt = 0; attempt < 5 && !met; ++attempt) met = step_to_the_end(at) == at;
        reached += met;
    }
    print("a fork server that stops", steps.size(), length, reached);
    CHECK(reached * 10 >= steps.size() * 9);
}

TEST_CASE("a fork server that dies after any instruction of the start of its pool") {
    pf::test::require_stepping();
    const pf::test::log_lines heard;  // of the thread that was there before
    const pf::test::leaks none_left;
    std::size_t length = 0;
    {
        construction round;
        {
            stepper server{round.server()};
            round.begin();
            while (server.step()) {
                ++length;
                if (round.over(server)) break;
            }
        }
        REQUIRE(round.finish({}));
    }
    const auto steps = pf::test::steps_to_try(length, sample);
    std::size_t reached = 0;
    for (const std::size_t instructions : steps) {
        CAPTURE(instructions, length);
        construction round;
        stepper server{round.server()};
        round.begin();
        std::size_t at = 0;
        while (at < instructions && (at == 0 || !round.over(server)) && server.step()) ++at;
        const std::vector<pid_t> children = children_of(round.server());
        server.kill();
        static_cast<void>(round.finish(children));
        reached += at == instructions;
    }
    print("a fork server that starts its workers", steps.size(), length, reached);
    CHECK(reached * 10 >= steps.size() * 9);
}

#include <sys/ptrace.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/process_family.hpp"
#include "support/stepper.hpp"

// What a task costs in instructions and system calls, counted by stepping through them: no profiler
// is needed for it, and no quiet machine.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::stepper;

namespace {

struct cost {
    unsigned instructions = 0;
    unsigned system_calls = 0;
};

void print(const char* what, cost counted) {
    std::printf("%s: %u instructions, %u system calls\n", what, counted.instructions,
                counted.system_calls);
}

// Twice what is measured with gcc 12 at -O3; what isn't optimised, or has checks built in, has no
// ceiling.
void check_instructions(cost counted, unsigned measured) {
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
    CHECK(counted.instructions <= 2 * measured);
#else
    static_cast<void>(counted);
    static_cast<void>(measured);
#endif
}

/// Where what is counted begins and ends, in a process that is stepped through.
void mark() { __asm__ volatile("int3" ::: "memory"); }

/// Ends the program as skipped where nothing can be counted.
void require_counting() {
    pf::test::require_stepping();
    if (std::getenv("PREFORK_SANITIZED") == nullptr) return;
    std::puts("left out with a sanitizer: its instructions are not ours");
    std::fflush(stdout);
    ::_exit(77);
}

/// Runs `host` in a process of its own, in which no other thread than this is stepped through; the
/// least cost of what lies between each two marks: now and then the monitor has the pool's mutex.
template <class Host>
cost cost_between_marks(Host host) {
    int gate[2];
    REQUIRE(::pipe(gate) == 0);
    const pid_t pid = pf::test::fork_child([&] {
        char opened = 0;
        if (::read(gate[0], &opened, 1) != 1) return 1;
        host();
        return 0;
    });
    std::vector<cost> costs;
    {
        // Its pool is to have all CPUs.
        stepper process{pid, false};
        REQUIRE(::write(gate[1], "x", 1) == 1);
        while (process.run_to_mark(20s)) {
            process.pass_mark();
            cost& here = costs.emplace_back();
            while (!process.at_mark()) {
                here.system_calls += process.at_system_call();
                ++here.instructions;
                if (!process.step()) break;
            }
            process.pass_mark();
        }
        CHECK((process.ended() && process.end_status() == 0));
    }
    ::close(gate[0]);
    ::close(gate[1]);
    REQUIRE(!costs.empty());
    return *std::min_element(costs.begin(), costs.end(), [](const cost& a, const cost& b) {
        return std::pair{a.system_calls, a.instructions} <
               std::pair{b.system_calls, b.instructions};
    });
}

bool asleep(pf::pool& pool) {
    return pf::test::until([&] {
        const auto workers = pool.stats().workers;
        return std::all_of(workers.begin(), workers.end(),
                           [](const auto& each) { return pf::test::state_of(each.pid) == 'S'; });
    });
}

void nothing() {}
constexpr int rounds = 3;
constexpr int burst = 16;

pf::pool_options one_worker(pf::idle how) { return {.workers = 1, .idle = how}; }

}  // namespace

TEST_CASE("submit() to workers that sleep is one system call, to one that looks for it none") {
    require_counting();
    for (const pf::idle how : {pf::idle::park, pf::idle::spin}) {
        const cost counted = cost_between_marks([&] {
            pf::pool pool{one_worker(how)};
            pool.submit(nothing).get();
            for (int round = 0; round < rounds; ++round) {
                if (how == pf::idle::park && !asleep(pool)) ::_exit(2);
                mark();
                auto task = pool.submit(nothing);
                mark();
                task.get();
            }
        });
        if (how == pf::idle::park) {
            print("submit, the worker sleeps", counted);
            CHECK(counted.system_calls == 1);
        } else {
            print("submit, the worker looks", counted);
            CHECK(counted.system_calls == 0);
        }
        check_instructions(counted, 810);
    }
}

TEST_CASE("a result that is there is fetched without a system call") {
    require_counting();
    const cost counted = cost_between_marks([] {
        pf::pool pool{one_worker(pf::idle::park)};
        pool.submit(nothing).get();
        for (int round = 0; round < rounds; ++round) {
            auto task = pool.submit(nothing);
            if (!pf::test::until([&] { return task.ready(); })) ::_exit(2);
            mark();
            task.get();
            mark();
        }
    });
    print("get, the result is there", counted);
    CHECK(counted.system_calls == 0);
    check_instructions(counted, 585);
}

TEST_CASE("a burst costs its submitter one system call, however long it is") {
    require_counting();
    const cost counted = cost_between_marks([] {
        pf::pool pool{{.workers = 2, .idle = pf::idle::park}};
        pool.submit(nothing).get();
        // Slow as we are while each instruction is counted, workers would take each task before the
        // next is there, and sleep again.
        for (int round = 0; round < rounds; ++round) {
            if (!asleep(pool)) ::_exit(2);
            const auto workers = pool.stats().workers;
            for (const auto& each : workers) ::kill(each.pid, SIGSTOP);
            for (const auto& each : workers) {
                if (!pf::test::until([&] { return pf::test::state_of(each.pid) == 'T'; }))
                    ::_exit(3);
            }
            std::vector<pf::future<void>> tasks;
            tasks.reserve(burst);
            mark();
            for (int i = 0; i < burst; ++i) tasks.push_back(pool.submit(nothing));
            mark();
            for (const auto& each : workers) ::kill(each.pid, SIGCONT);
            for (auto& each : tasks) each.get();
        }
    });
    print("submit, sixteen times", counted);
    CHECK(counted.system_calls == 1);
    check_instructions(counted, burst * 716);
}

TEST_CASE("a worker that looks for tasks takes and ends one without a system call") {
    require_counting();
    pf::pool pool{one_worker(pf::idle::spin)};
    const pid_t pid = pool.submit([] { return ::getpid(); }).get();
    stepper worker{pid};
    while (!worker.at_rdtsc() && worker.step()) {
    }
    auto task = pool.submit(nothing);
    cost counted;
    while (!task.ready()) {
        counted.system_calls += worker.at_system_call();
        ++counted.instructions;
        REQUIRE(worker.step());
    }
    print("worker, a task that it looks for", counted);
    CHECK(counted.system_calls == 0);
    check_instructions(counted, 565);
}

TEST_CASE("a worker that sleeps wakes, runs a task and sleeps again with one system call") {
    require_counting();
    pf::pool pool{one_worker(pf::idle::park)};
    const pid_t pid = pool.submit([] { return ::getpid(); }).get();
    REQUIRE(asleep(pool));
    stepper worker{pid};
    auto task = pool.submit(nothing);
    REQUIRE(worker.step());  // out of the sleep
    cost counted;
    while (!worker.at_futex_wait()) {
        counted.system_calls += worker.at_system_call();
        ++counted.instructions;
        REQUIRE(worker.step());
    }
    REQUIRE(task.ready());
    ++counted.system_calls;  // the sleep that it is about to begin
    print("worker, from one sleep to the next", counted);
    CHECK(counted.system_calls == 1);
    check_instructions(counted, 1105);
}

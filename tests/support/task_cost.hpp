#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/in_child.hpp"
#include "support/process_family.hpp"
#include "support/shared_lines.hpp"
#include "support/stepper.hpp"

// What a task costs in instructions and system calls, counted by stepping through them: no profiler
// is needed for it, and no quiet machine.

namespace prefork::test {

struct cost {
    unsigned instructions = 0;
    unsigned system_calls = 0;

    void count(const stepper& process) {
        system_calls += process.at_system_call();
        ++instructions;
    }
};

namespace task_cost {

/// Each is measured so often, and the least counts: now and then the monitor has the pool's mutex.
inline constexpr int rounds = 3;

inline void nothing() {}

inline pool_options one_worker(idle how) { return {.workers = 1, .idle = how}; }

inline bool asleep(pool& of) {
    return until([&] {
        const auto workers = of.stats().workers;
        return std::all_of(workers.begin(), workers.end(),
                           [](const auto& each) { return state_of(each.pid) == 'S'; });
    });
}

inline void require(bool condition, const char* what) {
    if (!condition)
        throw std::runtime_error{std::string{"while a task's cost is counted: "} + what};
}

/// Where what is counted begins and ends, in a process that is stepped through.
inline void mark() { __asm__ volatile("int3" ::: "memory"); }

/// Runs `host` in a process of its own, in which no other thread than this is stepped through; the
/// least cost of what lies between each two marks. \throws std::runtime_error when `host` does
template <class Host>
cost between_marks(Host host) {
    int gate[2];
    base::checked(::pipe(gate), "pipe");
    const base::unique_fd there{gate[0]};
    const base::unique_fd here{gate[1]};
    const pid_t pid = fork_child([&] {
        char opened = 0;
        if (::read(there.get(), &opened, 1) != 1) return 1;
        host();
        return 0;
    });
    std::vector<cost> costs;
    {
        // Its pool is to have all CPUs.
        stepper process{pid, false};
        require(::write(here.get(), "x", 1) == 1, "the host does not start");
        while (process.run_to_mark(std::chrono::seconds(20))) {
            process.pass_mark();
            cost& counted = costs.emplace_back();
            while (!process.at_mark()) {
                counted.count(process);
                if (!process.step()) break;
            }
            process.pass_mark();
        }
        require(process.ended() && process.end_status() == 0, "the host does not end in peace");
    }
    require(!costs.empty(), "no mark was passed");
    return *std::min_element(costs.begin(), costs.end(), [](const cost& a, const cost& b) {
        return std::pair{a.system_calls, a.instructions} <
               std::pair{b.system_calls, b.instructions};
    });
}

/// Of submit() to the only worker, which sleeps (idle::park) or looks for tasks (idle::spin).
inline cost of_submit(idle how) {
    return between_marks([&] {
        pool workers{one_worker(how)};
        workers.submit(nothing).get();
        for (int round = 0; round < rounds; ++round) {
            if (how == idle::park) require(asleep(workers), "the worker does not sleep");
            mark();
            auto task = workers.submit(nothing);
            mark();
            task.get();
        }
    });
}

/// Of get(), when the result is there.
inline cost of_get() {
    return between_marks([] {
        pool workers{one_worker(idle::park)};
        workers.submit(nothing).get();
        for (int round = 0; round < rounds; ++round) {
            auto task = workers.submit(nothing);
            require(until([&] { return task.ready(); }), "the task does not end");
            mark();
            task.get();
            mark();
        }
    });
}

/// Of `length` times submit(), to two workers that sleep.
inline cost of_burst(int length) {
    return between_marks([length] {
        pool workers{{.workers = 2, .idle = idle::park}};
        workers.submit(nothing).get();
        // Slow as we are while each instruction is counted, workers would take each task before the
        // next is there, and sleep again.
        for (int round = 0; round < rounds; ++round) {
            require(asleep(workers), "the workers do not sleep");
            const auto stopped = workers.stats().workers;
            for (const auto& each : stopped) ::kill(each.pid, SIGSTOP);
            for (const auto& each : stopped) {
                require(until([&] { return state_of(each.pid) == 'T'; }), "no worker stops");
            }
            std::vector<future<void>> tasks;
            tasks.reserve(static_cast<std::size_t>(length));
            mark();
            for (int i = 0; i < length; ++i) tasks.push_back(workers.submit(nothing));
            mark();
            for (const auto& each : stopped) ::kill(each.pid, SIGCONT);
            for (auto& each : tasks) each.get();
        }
    });
}

/// Of a worker that looks for tasks, from where it looks at the clock to the task's end.
inline cost of_polling_worker() {
    pool workers{one_worker(idle::spin)};
    stepper worker{workers.submit([] { return ::getpid(); }).get()};
    while (!worker.at_rdtsc() && worker.step()) {
    }
    auto task = workers.submit(nothing);
    cost counted;
    while (!task.ready()) {
        counted.count(worker);
        require(worker.step(), "the worker ends");
    }
    return counted;
}

/// Of a worker that sleeps, wakes, runs a task and sleeps again.
inline cost of_sleeping_worker() {
    pool workers{one_worker(idle::park)};
    const pid_t pid = workers.submit([] { return ::getpid(); }).get();
    require(asleep(workers), "the worker does not sleep");
    stepper worker{pid};
    auto task = workers.submit(nothing);
    require(worker.step(), "the worker ends");  // out of the sleep
    cost counted;
    while (!worker.at_futex_wait()) {
        counted.count(worker);
        require(worker.step(), "the worker ends");
    }
    require(task.ready(), "the task has not ended");
    ++counted.system_calls;  // the sleep that it is about to begin
    return counted;
}

/// Of the region, by whom.
struct written_lines {
    std::size_t by_submit = 0;
    std::size_t by_worker = 0;
    std::size_t by_get = 0;
};

/// By one task, from when its worker looks for tasks to when it looks again.
inline written_lines of_lines() {
    pool workers{one_worker(idle::spin)};
    const pid_t pid = workers.submit([] { return ::getpid(); }).get();
    written_lines least{~std::size_t{0}, ~std::size_t{0}, ~std::size_t{0}};
    for (int round = 0; round < 2 * rounds; ++round) {
        ::kill(pid, SIGSTOP);
        require(until([&] { return state_of(pid) == 'T'; }), "the worker does not stop");
        const shared_lines first;
        auto task = workers.submit(nothing);
        const shared_lines sent;
        ::kill(pid, SIGCONT);
        require(until([&] { return task.ready(); }), "the task does not end");
        ::kill(pid, SIGSTOP);
        require(until([&] { return state_of(pid) == 'T'; }), "the worker does not stop");
        const shared_lines ended;
        task.get();
        const shared_lines last;
        ::kill(pid, SIGCONT);
        least.by_submit = std::min(least.by_submit, sent.changed_since(first));
        least.by_worker = std::min(least.by_worker, ended.changed_since(sent));
        least.by_get = std::min(least.by_get, last.changed_since(ended));
    }
    return least;
}

}  // namespace task_cost

}  // namespace prefork::test

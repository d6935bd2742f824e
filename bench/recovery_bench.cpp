// How long the only worker's death holds up the next task, by the memory that the worker had: from
// SIGKILL to the task's start, and to the error of the one that was lost.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/support/latencies.hpp"
#include "bench/support/other_process.hpp"
#include "bench/support/quick.hpp"
#include "bench/support/spin.hpp"
#include "prefork/error.hpp"
#include "prefork/pool.hpp"

namespace {

using clock_type = std::chrono::steady_clock;
using prefork::bench::spin_until;

// Set by the task that is to be killed, when it has its memory.
std::atomic<int>* busy;

void hold(std::size_t bytes) {
    // Written to: memory that was only asked for costs the kernel nothing to take back.
    const std::vector<char> held(bytes, 'x');
    benchmark::DoNotOptimize(held.data());
    busy->store(::getpid(), std::memory_order_release);
    spin_until([] { return false; });
}

// Every process of this machine has the same steady clock.
std::int64_t start_time() { return clock_type::now().time_since_epoch().count(); }

void killed(benchmark::State& state) {
    prefork::bench::shared<std::atomic<int>> pid;
    busy = &*pid;  // before the fork, so that the worker has it too
    prefork::pool pool{{.workers = 1}};
    prefork::bench::latencies each{state};
    clock_type::duration told{};
    for (auto _ : state) {
        busy->store(0, std::memory_order_relaxed);
        auto lost = pool.submit(hold, static_cast<std::size_t>(state.range(0)) << 20);
        spin_until([] { return busy->load(std::memory_order_acquire) != 0; });
        const auto start = clock_type::now();
        ::kill(*busy, SIGKILL);
        auto next = pool.submit(start_time);
        lost.wait();
        told += clock_type::now() - start;
        each.add(clock_type::duration{next.get()} - start.time_since_epoch());
    }
    state.counters["error_ns"] = benchmark::Counter(
        std::chrono::duration<double, std::nano>(told).count(), benchmark::Counter::kAvgIterations);
}
BENCHMARK(killed)
    ->ArgName("worker_mib")
    ->Arg(1)
    ->Arg(prefork::bench::unless_quick(1024, 16))
    ->Iterations(prefork::bench::unless_quick(20, 3))
    ->UseManualTime();

}  // namespace

BENCHMARK_MAIN();

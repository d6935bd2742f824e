// How long the only worker's death holds up the next task, by the memory that the worker had: from
// SIGKILL to the task's start, and to the error of the one that was lost.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>

#include "bench/support/latencies.hpp"
#include "bench/support/quick.hpp"
#include "bench/support/worker_kill.hpp"

namespace {

using prefork::bench::unless_quick;

void killed(benchmark::State& state) {
    prefork::bench::worker_kill worker;
    prefork::bench::latencies each{state};
    std::chrono::duration<double, std::nano> error{0};
    for (auto _ : state) {
        const auto took = worker.once(static_cast<std::size_t>(state.range(0)) << 20);
        each.add(took.next_started);
        error += took.loss_known;
    }
    state.counters["error_ns"] =
        benchmark::Counter(error.count(), benchmark::Counter::kAvgIterations);
}
BENCHMARK(killed)
    ->ArgName("worker_MiB")
    ->Arg(1)
    ->Arg(unless_quick(1024, 16))
    ->Iterations(unless_quick(20, 3))
    ->UseManualTime();

}  // namespace

BENCHMARK_MAIN();

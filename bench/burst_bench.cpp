// What a burst costs that comes after a pause: its submitter, until the last submit() returns, and
// until the last result is there.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <vector>

#include "bench/support/idle.hpp"
#include "bench/support/latencies.hpp"
#include "bench/support/quick.hpp"
#include "prefork/pool.hpp"

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

int nothing(int x) { return x; }

void burst(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(1))}};
    std::vector<prefork::future<int>> tasks;
    tasks.reserve(static_cast<std::size_t>(state.range(0)));
    prefork::bench::latencies each{state};
    clock_type::duration submitting{};
    for (auto _ : state) {
        prefork::bench::be_idle(1ms);
        const auto start = clock_type::now();
        for (int i = 0; i < state.range(0); ++i) tasks.push_back(pool.submit(nothing, i));
        submitting += clock_type::now() - start;
        for (auto& task : tasks) benchmark::DoNotOptimize(task.get());
        each.add(clock_type::now() - start);
        tasks.clear();
    }
    state.counters["submit_ns"] =
        benchmark::Counter(std::chrono::duration<double, std::nano>(submitting).count(),
                           benchmark::Counter::kAvgIterations);
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(burst)
    ->ArgNames({"tasks", "workers"})
    ->ArgsProduct({{1, 10, 100, 1'000}, {1, 2}})
    ->Iterations(prefork::bench::unless_quick(500, 20))
    ->UseManualTime();

}  // namespace

BENCHMARK_MAIN();

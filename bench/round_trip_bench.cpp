// How long from submit() to the result of a task that does nothing, while it is hot, beside what
// the machine allows. Mean, and of each round trip alone, with the reading of the clock.
#include <benchmark/benchmark.h>

#include "bench/limit/cache_line.hpp"
#include "bench/limit/futex.hpp"
#include "bench/support/latencies.hpp"
#include "prefork/pool.hpp"

namespace {

using prefork::bench::latencies;

int nothing(int x) { return x; }

void limit_cache_line(benchmark::State& state) {
    prefork::bench::cache_line_ping_pong limit;
    for (auto _ : state) limit.bounce();
}
BENCHMARK(limit_cache_line)->UseRealTime();

void limit_futex(benchmark::State& state) {
    prefork::bench::futex_hand_over limit;
    for (auto _ : state) limit.bounce();
}
BENCHMARK(limit_futex)->UseRealTime();

void hot(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(0))}};
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(nothing, 1).get());
}
BENCHMARK(hot)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

void hot_each(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(0))}};
    latencies each{state};
    for (auto _ : state) {
        each.time([&] { benchmark::DoNotOptimize(pool.submit(nothing, 1).get()); });
    }
}
BENCHMARK(hot_each)->ArgName("workers")->Arg(1)->Arg(2)->UseManualTime();

}  // namespace

BENCHMARK_MAIN();

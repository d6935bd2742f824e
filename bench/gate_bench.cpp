// What the gate costs: a group of one task with no limit, with a limit that is never reached, with
// such a limit of its own (it reads the load), and in the caller, where the gate is shut.
#include <benchmark/benchmark.h>

#include <optional>

#include "prefork/gate.hpp"
#include "prefork/pool.hpp"
#include "prefork/task_group.hpp"

namespace {

int nothing(int x) { return x; }

constexpr double never_reached = 1e9;
constexpr double always_above = 0;  // unless nothing has run here for minutes

void group_of_one(benchmark::State& state, prefork::pool& pool,
                  const prefork::group_options& options, bool is_shut = false) {
    for (auto _ : state) {
        prefork::task_group<int> group{pool, options};
        group.run(nothing, 1);
        benchmark::DoNotOptimize(group.get());
        if (group.ran_inline() != is_shut) return state.SkipWithError("the load is 0 here");
    }
}

void no_gate(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    group_of_one(state, pool, {});
}
BENCHMARK(no_gate)->UseRealTime();

void open(benchmark::State& state) {
    prefork::pool pool{{.workers = 1, .max_load_average = never_reached}};
    group_of_one(state, pool, {});
}
BENCHMARK(open)->UseRealTime();

void open_by_its_own_limit(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    group_of_one(state, pool, {.max_load_average = never_reached});
}
BENCHMARK(open_by_its_own_limit)->UseRealTime();

void shut(benchmark::State& state) {
    prefork::pool pool{{.workers = 1, .max_load_average = always_above}};
    group_of_one(state, pool, {}, true);
}
BENCHMARK(shut)->UseRealTime();

void load_average(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(prefork::load_average());
}
BENCHMARK(load_average);

void usable_cpus(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(prefork::usable_cpus());
}
BENCHMARK(usable_cpus);

}  // namespace

BENCHMARK_MAIN();

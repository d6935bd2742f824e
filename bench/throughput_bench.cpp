// How many tasks a second that do nothing, submitted in one go by one thread or by several, each of
// which gathers its own in order.
#include <benchmark/benchmark.h>

#include <memory>

#include "prefork/pool.hpp"
#include "prefork/task_group.hpp"

namespace {

int nothing(int x) { return x; }

// Made before the threads that submit.
std::unique_ptr<prefork::pool> pool;

void make_pool(const benchmark::State& state) {
    pool = std::make_unique<prefork::pool>(
        prefork::pool_options{.workers = static_cast<unsigned>(state.range(1))});
}
void end_pool(const benchmark::State&) { pool.reset(); }

void gathered(benchmark::State& state) {
    for (auto _ : state) {
        prefork::task_group<int> group{*pool};
        for (int i = 0; i < state.range(0); ++i) group.run(nothing, i);
        benchmark::DoNotOptimize(group.get());
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(gathered)
    ->Setup(make_pool)
    ->Teardown(end_pool)
    ->ArgNames({"tasks", "workers"})
    ->ArgsProduct({{1'000, 100'000}, {1, 2}})
    ->Threads(1)
    ->Threads(4)
    ->UseRealTime();
// More workers than CPUs only get in each other's way: how much.
BENCHMARK(gathered)
    ->Name("gathered_by_many")
    ->Setup(make_pool)
    ->Teardown(end_pool)
    ->ArgNames({"tasks", "workers"})
    ->ArgsProduct({{100'000}, {2, 4, 8, 16, 32, 64}})
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();

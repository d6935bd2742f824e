// How many tasks a second that do nothing, submitted in one go and gathered in order.
#include <benchmark/benchmark.h>

#include <numeric>
#include <vector>

#include "prefork/pool.hpp"
#include "prefork/task_group.hpp"

namespace {

int nothing(int x) { return x; }

void gathered(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(1))}};
    for (auto _ : state) {
        prefork::task_group<int> group{pool};
        for (int i = 0; i < state.range(0); ++i) group.run(nothing, i);
        benchmark::DoNotOptimize(group.get());
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(gathered)
    ->ArgNames({"tasks", "workers"})
    ->ArgsProduct({{1'000, 100'000}, {1, 2}})
    ->UseRealTime();

// 1,000,000 items of about 50 ns: what chunking makes of items that are too small to send alone.
void mapped(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(1))}};
    const auto cheap = [](int x) {
        unsigned hash = static_cast<unsigned>(x);
        for (int i = 0; i < 16; ++i) hash = hash * 1664525u + 1013904223u;
        return hash;
    };
    std::vector<int> items(static_cast<std::size_t>(state.range(0)));
    std::iota(items.begin(), items.end(), 0);
    for (auto _ : state) {
        benchmark::DoNotOptimize(pool.map(items, cheap));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(mapped)
    ->ArgNames({"items", "workers"})
    ->Args({1'000'000, 1})
    ->Args({1'000'000, 2})
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();

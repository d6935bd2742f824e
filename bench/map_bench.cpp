// From which size of an item a map pays: 20 ms of work in items of 10 ns to 1 ms, beside the same
// loop in the caller.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "bench/support/work.hpp"
#include "prefork/pool.hpp"

namespace {

using prefork::bench::work;
using std::chrono::nanoseconds;

constexpr nanoseconds all_of_it = std::chrono::milliseconds(20);

void item_sizes(benchmark::internal::Benchmark* of) {
    of->ArgName("item_ns")->RangeMultiplier(10)->Range(10, 1'000'000)->UseRealTime();
}

struct job {
    explicit job(nanoseconds item)
        : items(static_cast<std::size_t>(all_of_it / item)),
          steps(prefork::bench::steps_for(item)) {
        std::iota(items.begin(), items.end(), 0U);
    }
    std::vector<std::uint32_t> items;
    std::uint64_t steps;
};

void sequential(benchmark::State& state) {
    const job todo{nanoseconds{state.range(0)}};
    for (auto _ : state) {
        std::vector<std::uint32_t> results(todo.items.size());
        std::transform(todo.items.begin(), todo.items.end(), results.begin(),
                       [&](std::uint32_t item) { return work(item, todo.steps); });
        benchmark::DoNotOptimize(results);
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(todo.items.size()));
}
BENCHMARK(sequential)->Apply(item_sizes);

void mapped(benchmark::State& state, const prefork::map_options& how) {
    prefork::pool pool;
    const job todo{nanoseconds{state.range(0)}};
    const auto each = [steps = todo.steps](std::uint32_t item) { return work(item, steps); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.map(todo.items, each, how));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(todo.items.size()));
}
void by_workers(benchmark::State& state) { mapped(state, {}); }
BENCHMARK(by_workers)->Apply(item_sizes);
void caller_helps(benchmark::State& state) { mapped(state, {.caller_helps = true}); }
BENCHMARK(caller_helps)->Apply(item_sizes);

}  // namespace

BENCHMARK_MAIN();

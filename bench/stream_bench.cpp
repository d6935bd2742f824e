// How many results a second come out of a stream, in order or as they are ready, by how many may be
// under way.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "bench/support/work.hpp"
#include "prefork/pool.hpp"
#include "prefork/stream.hpp"

namespace {

constexpr std::size_t items = 1'000;

void streamed(benchmark::State& state, prefork::order order) {
    prefork::pool pool;
    const std::uint64_t steps = prefork::bench::steps_for(std::chrono::nanoseconds{state.range(0)});
    const auto each = [steps](std::uint32_t item) { return prefork::bench::work(item, steps); };
    const prefork::stream_options options{.max_in_flight = static_cast<std::size_t>(state.range(1)),
                                          .order = order};
    std::vector<std::uint32_t> inputs(items);
    std::iota(inputs.begin(), inputs.end(), 0U);
    for (auto _ : state) {
        std::uint32_t sum = 0;
        for (const std::uint32_t result : pool.stream(inputs, each, options)) {
            sum += result;
        }
        benchmark::DoNotOptimize(sum);
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items));
}

void sizes(benchmark::internal::Benchmark* of) {
    of->ArgNames({"item_ns", "in_flight"})->ArgsProduct({{0, 10'000}, {2, 16, 128}})->UseRealTime();
}
void in_order(benchmark::State& state) { streamed(state, prefork::order::submission); }
BENCHMARK(in_order)->Apply(sizes);
void as_ready(benchmark::State& state) { streamed(state, prefork::order::completion); }
BENCHMARK(as_ready)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();

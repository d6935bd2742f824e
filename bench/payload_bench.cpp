// What bytes cost: there and back by copy, and as a shared_array, beside a bare memcpy.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "prefork/pool.hpp"

namespace {

void sizes(benchmark::internal::Benchmark* of) {
    of->ArgName("bytes")->RangeMultiplier(16)->Range(64, 16 << 20)->UseRealTime();
}

void bare_memcpy(benchmark::State& state) {
    const std::vector<char> from(static_cast<std::size_t>(state.range(0)), 'x');
    std::vector<char> to(from.size());
    for (auto _ : state) {
        std::memcpy(to.data(), from.data(), from.size());
        benchmark::DoNotOptimize(to.data());
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(bare_memcpy)->Apply(sizes);

void argument(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const std::string text(static_cast<std::size_t>(state.range(0)), 'x');
    const auto size = [](std::string_view seen) { return seen.size(); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(size, text).get());
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(argument)->Apply(sizes);

void there_and_back(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const std::string text(static_cast<std::size_t>(state.range(0)), 'x');
    const auto echo = [](const std::string& same) { return same; };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(echo, text).get());
    state.SetBytesProcessed(2 * state.iterations() * state.range(0));
}
BENCHMARK(there_and_back)->Apply(sizes);

void shared(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const auto array = pool.make_shared_array<char>(static_cast<std::size_t>(state.range(0)));
    const auto size = [](const prefork::shared_array<char>& seen) { return seen.size(); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(size, array).get());
}
BENCHMARK(shared)->ArgName("bytes")->Arg(64)->Arg(64 << 20)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();

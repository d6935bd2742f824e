// What bytes cost on their way to a task, back, and both, copied and as a shared_array, beside a
// bare memcpy.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "prefork/pool.hpp"
#include "prefork/shared_array.hpp"

namespace {

void sizes(benchmark::internal::Benchmark* of) {
    of->ArgName("bytes")->Arg(0)->RangeMultiplier(32)->Range(64, 64 << 20)->UseRealTime();
}

std::size_t size_of(const benchmark::State& state) {
    return static_cast<std::size_t>(state.range(0));
}

void count_bytes(benchmark::State& state, std::int64_t ways) {
    state.SetBytesProcessed(ways * state.iterations() * state.range(0));
}

void limit_memcpy(benchmark::State& state) {
    const std::vector<char> from(size_of(state), 'x');
    std::vector<char> to(from.size());
    for (auto _ : state) {
        if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
        benchmark::DoNotOptimize(to.data());
        benchmark::ClobberMemory();
    }
    count_bytes(state, 1);
}
BENCHMARK(limit_memcpy)->Apply(sizes);

void copied_there(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const std::string text(size_of(state), 'x');
    const auto size = [](std::string_view seen) { return seen.size(); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(size, text).get());
    count_bytes(state, 1);
}
BENCHMARK(copied_there)->Apply(sizes);

void copied_back(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const auto make = [](std::size_t size) { return std::string(size, 'x'); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(make, size_of(state)).get());
    count_bytes(state, 1);
}
BENCHMARK(copied_back)->Apply(sizes);

void copied_both_ways(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const std::string text(size_of(state), 'x');
    const auto echo = [](const std::string& same) { return same; };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(echo, text).get());
    count_bytes(state, 2);
}
BENCHMARK(copied_both_ways)->Apply(sizes);

void shared_there(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const auto array = pool.make_shared_array<char>(size_of(state));
    const auto size = [](const prefork::shared_array<char>& seen) { return seen.size(); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(size, array).get());
}
BENCHMARK(shared_there)->Apply(sizes);

// Made zeroed by the task, and given back by the host: nothing of it is touched but by making it
// so.
void shared_back(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    const auto make = [](std::size_t size) { return prefork::make_shared_array<char>(size); };
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(make, size_of(state)).get());
}
BENCHMARK(shared_back)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();

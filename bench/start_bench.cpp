// What a pool costs to make and to end, by its workers, beside fork, exit and wait.
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "prefork/pool.hpp"

namespace {

void limit_fork_exit_wait(benchmark::State& state) {
    for (auto _ : state) {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(0);
        ::waitpid(child, nullptr, 0);
    }
}
BENCHMARK(limit_fork_exit_wait)->UseRealTime();

void workers(benchmark::internal::Benchmark* of) {
    of->ArgName("workers")->Arg(1)->Arg(8)->Arg(64)->Unit(benchmark::kMillisecond)->UseRealTime();
}

prefork::pool_options options(const benchmark::State& state) {
    return {.workers = static_cast<unsigned>(state.range(0))};
}

// Until every worker has started.
void start(benchmark::State& state) {
    std::optional<prefork::pool> pool;
    for (auto _ : state) {
        pool.emplace(options(state));
        state.PauseTiming();
        pool.reset();
        state.ResumeTiming();
    }
}
BENCHMARK(start)->Apply(workers);

void start_and_end(benchmark::State& state) {
    for (auto _ : state) {
        prefork::pool pool{options(state)};
        benchmark::DoNotOptimize(&pool);
    }
}
BENCHMARK(start_and_end)->Apply(workers);

}  // namespace

BENCHMARK_MAIN();

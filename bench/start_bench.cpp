// What a pool costs to make and to end, and a dead worker to replace, beside fork, exit and wait.
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "prefork/error.hpp"
#include "prefork/pool.hpp"

namespace {

void fork_exit_wait(benchmark::State& state) {
    for (auto _ : state) {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(0);
        ::waitpid(child, nullptr, 0);
    }
}
BENCHMARK(fork_exit_wait)->UseRealTime();

void start_and_end(benchmark::State& state) {
    for (auto _ : state) {
        prefork::pool pool{{.workers = static_cast<unsigned>(state.range(0))}};
        benchmark::DoNotOptimize(&pool);
    }
}
BENCHMARK(start_and_end)->ArgName("workers")->Arg(1)->Arg(2)->Arg(8)->UseRealTime();

// From a crash to the result of the next task, in a pool whose only worker crashed.
void crash_and_next(benchmark::State& state) {
    prefork::pool pool{{.workers = 1}};
    for (auto _ : state) {
        auto lost = pool.submit([] { return ::raise(SIGKILL); });
        auto next = pool.submit([] { return 1; });
        benchmark::DoNotOptimize(next.get());
        try {
            lost.get();
        } catch (const prefork::worker_lost&) {
        }
    }
}
BENCHMARK(crash_and_next)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();

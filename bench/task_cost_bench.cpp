// What a task that does nothing costs its caller and its worker in instructions and system calls,
// counted by stepping through them. The times beside these counters mean nothing.
#include <benchmark/benchmark.h>

#include <exception>

#include "prefork/prefork.hpp"
#include "support/task_cost.hpp"

namespace {

using prefork::test::cost;
namespace task_cost = prefork::test::task_cost;

constexpr int burst = 32;

template <class Count>
void counted(benchmark::State& state, Count count, int tasks = 1) {
    if (!prefork::test::can_step()) return state.SkipWithError("ptrace is refused here");
    cost found;
    for (auto _ : state) {
        try {
            found = count();
        } catch (const std::exception& error) {
            return state.SkipWithError(error.what());
        }
    }
    state.counters["instructions"] = static_cast<double>(found.instructions) / tasks;
    state.counters["system_calls"] = static_cast<double>(found.system_calls) / tasks;
}

void submit_worker_sleeps(benchmark::State& state) {
    counted(state, [] { return task_cost::of_submit(prefork::idle::park); });
}
BENCHMARK(submit_worker_sleeps)->Iterations(1);

void submit_worker_looks(benchmark::State& state) {
    counted(state, [] { return task_cost::of_submit(prefork::idle::spin); });
}
BENCHMARK(submit_worker_looks)->Iterations(1);

void submit_in_a_burst(benchmark::State& state) {
    counted(
        state, [] { return task_cost::of_burst(burst); }, burst);
}
BENCHMARK(submit_in_a_burst)->Iterations(1);

void get_when_ready(benchmark::State& state) {
    counted(state, [] { return task_cost::of_get(); });
}
BENCHMARK(get_when_ready)->Iterations(1);

void worker_that_looks(benchmark::State& state) {
    counted(state, [] { return task_cost::of_polling_worker(); });
}
BENCHMARK(worker_that_looks)->Iterations(1);

void worker_that_sleeps(benchmark::State& state) {
    counted(state, [] { return task_cost::of_sleeping_worker(); });
}
BENCHMARK(worker_that_sleeps)->Iterations(1);

}  // namespace

BENCHMARK_MAIN();

// How long a task that does nothing takes, there and back, when there was none for a while.
#include <benchmark/benchmark.h>

#include <chrono>

#include "bench/limit/futex.hpp"
#include "bench/support/idle.hpp"
#include "bench/support/latencies.hpp"
#include "bench/support/quick.hpp"
#include "prefork/pool.hpp"

namespace {

using prefork::bench::be_idle;
using prefork::bench::latencies;
using std::chrono::microseconds;

int nothing(int x) { return x; }

// 10 µs: the worker still looks for the next task; 100 ms: it has slept for long, and so has its
// CPU.
constexpr int idle_us[] = {10, 1'000, 100'000};

// Some seconds each, however long the pauses.
int iterations(int idle) {
    const int full = idle >= 100'000 ? 50 : 1'000;
    return prefork::bench::unless_quick(full, full / 20);
}

template <class Body>
void after_idle(benchmark::State& state, Body body) {
    const microseconds idle{state.range(0)};
    body();  // whatever is made at the first time
    latencies each{state};
    for (auto _ : state) {
        be_idle(idle);
        each.time(body);
    }
}

void limit_futex(benchmark::State& state) {
    prefork::bench::futex_hand_over limit;
    after_idle(state, [&] { limit.bounce(); });
}

void round_trip(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(1))}};
    after_idle(state, [&] { benchmark::DoNotOptimize(pool.submit(nothing, 1).get()); });
}

void register_all() {
    for (const int idle : idle_us) {
        benchmark::RegisterBenchmark("limit_futex", limit_futex)
            ->ArgName("idle_us")
            ->Arg(idle)
            ->Iterations(iterations(idle))
            ->UseManualTime();
        for (const int workers : {1, 2}) {
            benchmark::RegisterBenchmark("round_trip", round_trip)
                ->ArgNames({"idle_us", "workers"})
                ->Args({idle, workers})
                ->Iterations(iterations(idle))
                ->UseManualTime();
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    register_all();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}

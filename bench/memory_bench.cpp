// What an idle worker holds: memory of its own, and its share of what it has in common with others.
// The times beside these counters mean nothing.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "prefork/pool.hpp"

namespace {

struct footprint {
    std::uint64_t private_kib = 0;
    std::uint64_t share_kib = 0;
};

footprint of_process(int pid) {
    footprint found;
    std::ifstream rollup{"/proc/" + std::to_string(pid) + "/smaps_rollup"};
    for (std::string name; rollup >> name;) {
        std::uint64_t kib = 0;
        if (name == "Pss:" && rollup >> kib) found.share_kib += kib;
        if (name.starts_with("Private_") && rollup >> kib) found.private_kib += kib;
    }
    return found;
}

void idle_worker(benchmark::State& state) {
    const auto workers = static_cast<unsigned>(state.range(0));
    prefork::pool pool{{.workers = workers}};
    // Each has run something: its stack and its heap are there.
    pool.broadcast([] {});
    footprint all;
    for (auto _ : state) {
        for (const auto& each : pool.stats().workers) {
            const footprint one = of_process(each.pid);
            all.private_kib += one.private_kib;
            all.share_kib += one.share_kib;
        }
    }
    if (all.share_kib == 0) return state.SkipWithError("/proc has no smaps_rollup here");
    state.counters["private_KiB"] = static_cast<double>(all.private_kib) / workers;
    state.counters["proportional_KiB"] = static_cast<double>(all.share_kib) / workers;
}
BENCHMARK(idle_worker)->ArgName("workers")->Arg(1)->Arg(8)->Arg(64)->Iterations(1);

}  // namespace

BENCHMARK_MAIN();

// How long from submit() to the result of a task that does nothing, beside what the machine allows:
// one cache line that two processes pass back and forth.
#include <benchmark/benchmark.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <new>

#include "prefork/pool.hpp"

namespace {

struct ball {
    alignas(128) std::atomic<unsigned> there;
    alignas(128) std::atomic<unsigned> back;
};

int nothing(int x) { return x; }

// The limit: two cache lines, no payload, both sides spinning.
void bare_ping_pong(benchmark::State& state) {
    void* const memory =
        ::mmap(nullptr, sizeof(ball), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto* const shared = new (memory) ball{};
    const pid_t other = ::fork();
    if (other == 0) {
        for (unsigned turn = 1;; ++turn) {
            while (shared->there.load(std::memory_order_acquire) != turn) __builtin_ia32_pause();
            shared->back.store(turn, std::memory_order_release);
        }
    }
    unsigned turn = 0;
    for (auto _ : state) {
        shared->there.store(++turn, std::memory_order_release);
        while (shared->back.load(std::memory_order_acquire) != turn) __builtin_ia32_pause();
    }
    ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
    ::munmap(memory, sizeof(ball));
}
BENCHMARK(bare_ping_pong)->UseRealTime();

void hot(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(0))}};
    for (auto _ : state) benchmark::DoNotOptimize(pool.submit(nothing, 1).get());
}
BENCHMARK(hot)->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime();

void after_idle(benchmark::State& state) {
    prefork::pool pool{{.workers = static_cast<unsigned>(state.range(0))}};
    const timespec idle{0, 1'000'000};
    for (auto _ : state) {
        ::nanosleep(&idle, nullptr);
        const auto start = std::chrono::steady_clock::now();
        benchmark::DoNotOptimize(pool.submit(nothing, 1).get());
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        state.SetIterationTime(took.count());
    }
}
BENCHMARK(after_idle)->ArgName("workers")->Arg(1)->Arg(2)->Iterations(1000)->UseManualTime();

}  // namespace

BENCHMARK_MAIN();

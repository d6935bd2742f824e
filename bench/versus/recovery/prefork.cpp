// A pool of one worker, and the spare that it has by itself.
#include "bench/support/worker_kill.hpp"
#include "workload.hpp"

int main(int argc, char** argv) {
    prefork::bench::worker_kill worker;
    constexpr std::size_t memory_bytes = 1 << 20;
    return prefork::versus::measure(argc, argv, [&] {
        const std::chrono::duration<double, std::nano> took =
            worker.once(memory_bytes).next_started;
        return took.count();
    });
}

// Two pipes, and a worker process a CPU.
#include "bench/versus/support/pipe.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    pipes<task, answer> channel{cpus(), run};
    return measure(argc, argv, [&](std::uint32_t count, std::uint64_t steps) {
        return gather_over(channel, count, steps);
    });
}

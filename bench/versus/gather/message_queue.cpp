// Two Boost.Interprocess message queues, and a worker process a CPU.
#include "bench/versus/support/message_queue.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    interprocess_queues<task, answer> channel{cpus(), run};
    return measure(argc, argv, [&](std::uint32_t count, std::uint64_t steps) {
        return gather_over(channel, count, steps);
    });
}

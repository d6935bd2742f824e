// A pair of Unix sockets, and a worker process a CPU.
#include "bench/versus/support/unix_socket.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    socket_pair<task, answer> channel{cpus(), run};
    return measure(argc, argv, [&](std::uint32_t count, std::uint64_t steps) {
        return gather_over(channel, count, steps);
    });
}

// Open MPI: tasks to the second rank and answers back; a rank that waits keeps a CPU busy, so on
// two CPUs there is one worker.
#include "bench/versus/support/open_mpi.hpp"

#include "workload.hpp"

namespace {

using namespace prefork::versus;

struct second_rank {
    // Messages this small are sent without waiting for their receiver.
    static constexpr std::size_t window = 64;
    void send(const task& todo) const { prefork::versus::send(todo, 1); }
    [[nodiscard]] answer receive() const { return prefork::versus::receive<answer>(); }
};

}  // namespace

int main(int argc, char** argv) {
    const mpi_session session{&argc, &argv};
    if (session.rank() != 0) return serve<task, answer>(run);
    second_rank channel;
    const int status = measure(argc, argv, [&](std::uint32_t count, std::uint64_t steps) {
        return gather_over(channel, count, steps);
    });
    stop_serving<task>();
    return status;
}

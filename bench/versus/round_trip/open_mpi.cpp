// Open MPI: a message to the second rank and one back, through shared memory.
#include "bench/versus/support/open_mpi.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    const mpi_session session{&argc, &argv};
    if (session.rank() != 0) return serve<int, int>(task);
    const int status = measure(argc, argv, [](int number) {
        send(number, 1);
        return receive<int>();
    });
    stop_serving<int>();
    return status;
}

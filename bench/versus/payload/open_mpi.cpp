// Open MPI: a message of bytes to the second rank, through shared memory.
#include "bench/versus/support/open_mpi.hpp"

#include "workload.hpp"

namespace {

using namespace prefork::versus;

int serve_bytes() {
    std::vector<std::byte> received;
    for (;;) {
        MPI_Status status;
        MPI_Probe(0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        int size = 0;
        MPI_Get_count(&status, MPI_BYTE, &size);
        received.resize(static_cast<std::size_t>(size));
        MPI_Recv(received.data(), size, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        if (status.MPI_TAG == stop_tag) return 0;
        send(seen(received), 0);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const mpi_session session{&argc, &argv};
    if (session.rank() != 0) return serve_bytes();
    const int status = measure(argc, argv, [](payload bytes) {
        return [bytes] {
            MPI_Send(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, 1, message_tag,
                     MPI_COMM_WORLD);
            return receive<std::uint64_t>();
        };
    });
    stop_serving<char>();
    return status;
}

#pragma once

// Not its bindings for C++, which MPI 3 has removed.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

namespace prefork::versus {

/// MPI from here to the end of main. Rank 0 hands tasks over; every other rank serves.
class mpi_session {
  public:
    mpi_session(int* argc, char*** argv) { MPI_Init(argc, argv); }
    ~mpi_session() { MPI_Finalize(); }
    mpi_session(const mpi_session&) = delete;
    mpi_session& operator=(const mpi_session&) = delete;

    [[nodiscard]] int rank() const {
        int number = 0;
        MPI_Comm_rank(MPI_COMM_WORLD, &number);
        return number;
    }
};

inline constexpr int message_tag = 0;
inline constexpr int stop_tag = 1;

template <class T>
void send(const T& value, int rank, int tag = message_tag) {
    MPI_Send(&value, sizeof value, MPI_BYTE, rank, tag, MPI_COMM_WORLD);
}
template <class T>
[[nodiscard]] T receive(int rank = 1) {
    T value;
    MPI_Recv(&value, sizeof value, MPI_BYTE, rank, message_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return value;
}

/// Runs `work` on each task of rank 0's, until stop_serving().
template <class Task, class Answer, class Work>
int serve(Work work) {
    for (;;) {
        Task todo;
        MPI_Status status;
        MPI_Recv(&todo, sizeof todo, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        if (status.MPI_TAG == stop_tag) return 0;
        const Answer answer = work(todo);
        send(answer, 0);
    }
}
template <class Task>
void stop_serving() {
    send(Task{}, 1, stop_tag);
}

}  // namespace prefork::versus

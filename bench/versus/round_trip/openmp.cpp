// OpenMP: a parallel region whose second thread runs the task; it knows no hand-over to a thread
// alone.
#include <omp.h>

#include "workload.hpp"

int main(int argc, char** argv) {
    return prefork::versus::measure(argc, argv, [](int number) {
        int answer = 0;
#pragma omp parallel num_threads(2) shared(answer)
        if (omp_get_thread_num() == 1) answer = prefork::versus::task(number);
        return answer;
    });
}

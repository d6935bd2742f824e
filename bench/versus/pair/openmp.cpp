// OpenMP: two sections.
#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        two found;
#pragma omp parallel sections num_threads(2)
        {
#pragma omp section
            found.first = task(first, steps);
#pragma omp section
            found.second = task(second, steps);
        }
        return found;
    });
}

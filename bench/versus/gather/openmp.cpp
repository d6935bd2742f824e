// OpenMP: tasks made by one thread of a parallel region.
#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t count, std::uint64_t steps) {
        results found(count);
#pragma omp parallel
#pragma omp single
        for (std::uint32_t i = 0; i < count; ++i) {
#pragma omp task firstprivate(i) shared(found)
            found[i] = value_of({i, steps});
        }
        return found;
    });
}

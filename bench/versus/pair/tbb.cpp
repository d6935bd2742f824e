// oneTBB: parallel_invoke, in which the caller does its share.
#include <tbb/parallel_invoke.h>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        two found;
        tbb::parallel_invoke([&] { found.first = task(first, steps); },
                             [&] { found.second = task(second, steps); });
        return found;
    });
}

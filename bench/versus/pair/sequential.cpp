// One after the other in the caller: what a pool has to be faster than.
#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        return two{task(first, steps), task(second, steps)};
    });
}

// Submitted to a pool with a worker a CPU; the caller waits.
#include <prefork/pool.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool;
    return measure(argc, argv, [&](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        auto one = pool.submit(task, first, steps);
        auto other = pool.submit(task, second, steps);
        const std::uint32_t result = one.get();
        return two{result, other.get()};
    });
}

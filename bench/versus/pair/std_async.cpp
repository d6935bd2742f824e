// std::async for the one, the other in the caller.
#include <future>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        auto other = std::async(std::launch::async, task, second, steps);
        const std::uint32_t result = task(first, steps);
        return two{result, other.get()};
    });
}

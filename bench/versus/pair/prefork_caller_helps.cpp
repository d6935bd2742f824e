// pool::map over two items, with one worker, the caller doing its share.
#include <array>
#include <prefork/pool.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool{{.workers = 1}};
    return measure(argc, argv, [&](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        const auto found = pool.map(std::array{first, second},
                                    [steps](std::uint32_t number) { return task(number, steps); },
                                    {.caller_helps = true});
        return two{found[0], found[1]};
    });
}

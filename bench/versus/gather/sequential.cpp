// The same calls in the caller, one after the other: what a pool has to be faster than.
#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t count, std::uint64_t steps) {
        results found(count);
        for (std::uint32_t i = 0; i < count; ++i) found[i] = value_of({i, steps});
        return found;
    });
}

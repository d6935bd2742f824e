// A task_group of a pool with a worker a CPU.
#include <prefork/pool.hpp>
#include <prefork/task_group.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool;
    return measure(argc, argv, [&](std::uint32_t count, std::uint64_t steps) {
        prefork::task_group<std::uint32_t> group{pool};
        for (std::uint32_t i = 0; i < count; ++i) group.run(value_of, task{i, steps});
        return group.get();
    });
}

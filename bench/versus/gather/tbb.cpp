// oneTBB: a task_group, the caller helping while it waits.
#include <tbb/task_group.h>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t count, std::uint64_t steps) {
        results found(count);
        tbb::task_group group;
        for (std::uint32_t i = 0; i < count; ++i) {
            group.run([&found, i, steps] { found[i] = value_of({i, steps}); });
        }
        group.wait();
        return found;
    });
}

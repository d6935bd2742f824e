// std::async: a thread a task, at most 64 of them, because each keeps its stack until it is asked.
#include <deque>
#include <future>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](std::uint32_t count, std::uint64_t steps) {
        results found;
        found.reserve(count);
        std::deque<std::future<std::uint32_t>> under_way;
        const auto take = [&] {
            found.push_back(under_way.front().get());
            under_way.pop_front();
        };
        for (std::uint32_t i = 0; i < count; ++i) {
            if (under_way.size() == 64) take();
            under_way.push_back(std::async(std::launch::async, value_of, task{i, steps}));
        }
        while (!under_way.empty()) take();
        return found;
    });
}

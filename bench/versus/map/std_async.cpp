// std::async: a chunk, and a thread, a CPU.
#include <future>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](const numbers& items, function each) {
        numbers found(items.size());
        std::vector<std::future<void>> chunks;
        for_each_chunk(items.size(), cpus(), [&](std::size_t begin, std::size_t end) {
            chunks.push_back(std::async(std::launch::async, [&, begin, end] {
                for (std::size_t i = begin; i < end; ++i) found[i] = each(items[i]);
            }));
        });
        for (auto& chunk : chunks) chunk.get();
        return found;
    });
}

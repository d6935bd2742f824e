#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#include "bench/support/work.hpp"
#include "bench/versus/support/turn.hpp"

// A function of every item of a vector (items=1000000), each a chain of `steps`.

namespace prefork::versus {

using numbers = std::vector<std::uint32_t>;

/// What each item becomes.
struct function {
    std::uint64_t steps;
    std::uint32_t operator()(std::uint32_t item) const { return bench::work(item, steps); }
};

[[nodiscard]] inline unsigned cpus() { return std::max(std::thread::hardware_concurrency(), 1U); }

/// For peers that know no chunks: as many as prefork makes, each run by `start(begin, end)`.
template <class Start>
void for_each_chunk(std::size_t items, std::size_t chunks, Start start) {
    for (std::size_t i = 0; i < chunks; ++i) start(items * i / chunks, items * (i + 1) / chunks);
}

/// `map(items, function)` returns the results.
template <class Map>
int measure(int argc, char** argv, Map map) {
    turn mine{argc, argv};
    numbers items(mine.get("items", 1'000'000));
    std::iota(items.begin(), items.end(), 0U);
    const function each{mine.get("steps", 0)};
    numbers expected(items.size());
    std::transform(items.begin(), items.end(), expected.begin(), each);
    const auto once = [&] {
        numbers found;
        const double took = timed([&] { found = map(items, each); });
        if (found != expected) wrong_answer("not the results of all items");
        return took / static_cast<double>(items.size());
    };
    once();  // what is made at the first time
    return mine.run(once);
}

}  // namespace prefork::versus

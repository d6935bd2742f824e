#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "bench/support/work.hpp"
#include "bench/versus/support/turn.hpp"

// Many tasks (tasks=100000), each submitted by itself, and their results in the order of
// submission. Each is a chain of `steps`; with none it does nothing.

namespace prefork::versus {

struct task {
    std::uint32_t number;
    std::uint64_t steps;
};
struct answer {
    std::uint32_t number;
    std::uint32_t value;
};

inline std::uint32_t value_of(task todo) { return bench::work(todo.number, todo.steps) + 1; }
inline answer run(task todo) { return {todo.number, value_of(todo)}; }

using results = std::vector<std::uint32_t>;

[[nodiscard]] inline unsigned cpus() { return std::max(std::thread::hardware_concurrency(), 1U); }

/// `gather(count, steps)` returns the values of task 0, 1, …
template <class Gather>
int measure(int argc, char** argv, Gather gather) {
    turn mine{argc, argv};
    const auto count = static_cast<std::uint32_t>(mine.get("tasks", 100'000));
    const std::uint64_t steps = mine.get("steps", 0);
    results expected;
    for (std::uint32_t i = 0; i < count; ++i) expected.push_back(value_of({i, steps}));
    const auto once = [&] {
        results found;
        const double took = timed([&] { found = gather(count, steps); });
        if (found != expected) wrong_answer("not the results, or not in their order");
        return took / count;
    };
    once();  // what is made at the first time
    return mine.run(once);
}

/// For peers that have no more than a channel: a number of tasks under way, and each answer to its
/// place.
template <class Channel>
[[nodiscard]] results gather_over(Channel& channel, std::uint32_t count, std::uint64_t steps) {
    results found(count);
    const auto receive = [&] {
        const answer next = channel.receive();
        found.at(next.number) = next.value;
    };
    std::uint32_t under_way = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (under_way == channel.window) {
            receive();
            --under_way;
        }
        channel.send(task{i, steps});
        ++under_way;
    }
    for (; under_way > 0; --under_way) receive();
    return found;
}

}  // namespace prefork::versus

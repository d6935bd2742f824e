#pragma once

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <new>
#include <vector>

#include "base/futex.hpp"
#include "prefork/pool.hpp"

namespace prefork::test {

/// How many tasks have come together; mapped before main(), so that every process has it.
inline std::atomic<std::uint32_t>& come_together =
    *new (::mmap(nullptr, sizeof(std::atomic<std::uint32_t>), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<std::uint32_t>;

/// Every one of so many workers runs a task at the same time: none sleeps on while there is work.
[[nodiscard]] inline bool all_work(pool& of, unsigned workers) {
    static constexpr std::chrono::seconds bound{20};
    come_together = 0;
    std::vector<future<bool>> tasks;
    for (unsigned i = 0; i < workers; ++i) {
        tasks.push_back(of.submit(
            [](unsigned all) {
                const auto end = base::deadline_after(base::monotonic::now(), bound);
                ++come_together;
                base::futex_wake(&come_together, 1 << 20);
                while (const std::uint32_t now = come_together) {
                    if (now >= all || base::monotonic::now() >= end) return now >= all;
                    base::futex_wait(&come_together, now, end);
                }
                return false;
            },
            workers));
    }
    bool all = true;
    for (auto& each : tasks) all = each.get_for(2 * bound) && all;
    return all;
}

}  // namespace prefork::test

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace prefork {

struct duration_stats {
    std::chrono::nanoseconds min{0};
    std::chrono::nanoseconds mean{0};
    std::chrono::nanoseconds max{0};
};

struct worker_stats {
    unsigned index = 0;  ///< its number among the workers; a replacement inherits it
    int pid = 0;
    std::uint64_t completed = 0;
    std::uint64_t failed = 0;  ///< threw
    duration_stats run_time;
    duration_stats queue_time;
    double rate = 0;
    double busy = 0;  ///< fraction of its life so far that it ran tasks
};

/// Tasks of one label, those whose result was fetched or dropped.
struct label_stats {
    std::uint64_t completed = 0;
    std::uint64_t failed = 0;
    duration_stats run_time;  ///< of those that ran to their end
};

/// What pool::stats() returns: a moment's numbers, not a transaction.
struct pool_stats {
    std::uint64_t submitted = 0;
    std::uint64_t completed = 0;  ///< ended with a value
    std::uint64_t failed = 0;     ///< ended with an error: threw, lost, late, cancelled
    std::uint64_t inlined = 0;    ///< run in the caller
    std::uint64_t retried = 0;
    std::uint64_t lost_workers = 0;  ///< died by themselves, or for a timeout or a limit
    std::uint64_t timeouts = 0;      ///< ran too long, or past their deadline
    std::uint64_t expired = 0;       ///< never started, because their deadline had passed
    duration_stats run_time;
    duration_stats queue_time;          ///< from submit() to the start
    double rate = 0;                    ///< tasks run by workers a second, since construction
    double busy = 0;                    ///< fraction of the workers' time spent in tasks
    std::vector<worker_stats> workers;  ///< those that live now
    /// By label; beyond 1000 labels, further ones are counted together as "(others)".
    std::map<std::string, label_stats> labels;
};

}  // namespace prefork

#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "process/fork_server.hpp"

// What a forked child does before anything of the user's runs in it. Nothing here throws; what
// can't be had (a name, a raised oom_score_adj) is done without.

namespace prefork::process {

/// Own process group, death with the server, signals reset, a name, every descriptor closed but 0,
/// 1, 2, `keep_fds` and the report's. Ends the process if its server is already gone.
void become_child(const worker_start& start, std::string_view pool_name,
                  const std::vector<int>& keep_fds) noexcept;

/// "<pool>/<part>", cut to the kernel's 15 bytes at the pool's name, never at the part.
using short_name = std::array<char, 16>;
[[nodiscard]] short_name name_of(std::string_view pool_name, std::string_view part) noexcept;

/// So that ps shows that name; of a whole one the first 15 bytes.
void name_process(std::string_view whole) noexcept;
void name_process(std::string_view pool_name, std::string_view part) noexcept;

/// Closes all descriptors above 2 that are not in `keep`.
void close_all_but(std::vector<int> keep) noexcept;

/// RLIMIT_DATA: what the process has now plus `bytes` (design.md §5: a limit counts growth). Not
/// RLIMIT_AS, which the sparse region would fill at once. 0: no limit.
void limit_data(std::uint64_t bytes) noexcept;

/// So that the kernel, short of memory, takes a worker before the host.
void raise_oom_score() noexcept;

}  // namespace prefork::process

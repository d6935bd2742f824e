#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "storm/books.hpp"

namespace storm {

/// Forks a process that, until `counts.over`, kills and stops the children of the fork server that
/// tasks see, the spare too, and now and then the server. It touches no process but the fork server
/// of that pool, by its name, and children of a server that it holds a pidfd of.
[[nodiscard]] pid_t fork_attacker(shared_counts& counts, const std::string& pool_name,
                                  std::uint64_t seed);

}  // namespace storm

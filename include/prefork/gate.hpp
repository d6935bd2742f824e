#pragma once

#include "prefork/export.hpp"

namespace prefork {

/// CPUs that this process may really use: its affinity mask, the cpuset, and the CPU quota of its
/// cgroup and of every one above (v1 and v2), rounded up; at least 1. Reads some small files: about
/// 50 µs.
[[nodiscard]] PREFORK_EXPORT unsigned usable_cpus();

/// The machine's one-minute load average, which the kernel renews every 5 s. 0 where there is none.
[[nodiscard]] PREFORK_EXPORT double load_average();

}  // namespace prefork

#pragma once

#include <optional>
#include <string>
#include <vector>

namespace prefork::gate {

/// What bounds the CPUs of a process, and where each bound was read.
struct cpu_limits {
    unsigned affinity = 1;           ///< CPUs in the mask
    std::optional<unsigned> cpuset;  ///< CPUs of the smallest cpuset above us
    std::optional<double> quota;     ///< CPUs' worth of time, the smallest of every cgroup above us
    unsigned usable = 1;             ///< the least of them, the quota rounded up; at least 1
    std::vector<std::string> notes;  ///< a sentence each, for people
};

/// Reads `root`/proc/self/cgroup, `root`/proc/self/mountinfo and the cgroup files that they lead
/// to, v1 and v2, with every ancestor. What is missing, empty or malformed limits nothing.
[[nodiscard]] cpu_limits read_cpu_limits(const std::string& root, unsigned affinity);

/// CPUs in "0-3,7,9-10"; nothing if it isn't such a list, or is empty.
[[nodiscard]] std::optional<unsigned> count_cpu_list(const std::string& text);

/// The union of the masks of all threads of this process: a pool that is made on a pinned thread
/// serves the process. Ascending.
[[nodiscard]] std::vector<unsigned> process_affinity();
/// For the calling thread; false when the kernel refuses.
bool set_affinity(const std::vector<unsigned>& cpus) noexcept;

}  // namespace prefork::gate

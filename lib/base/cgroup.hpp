#pragma once

#include <string>
#include <vector>

// Where this process's cgroups are, v1 and v2. What is missing or malformed yields nothing.

namespace prefork::base {

enum class cgroup_version { v1, v2 };

struct cgroup_directory {
    std::string path;
    cgroup_version version;
};

/// The directories of `controller`, from this process's own cgroup up to the top of what is
/// mounted, nearest first, as `root`/proc/self/cgroup and `root`/proc/self/mountinfo tell. v2
/// directories are given for every controller: what isn't enabled there has no files. `root` is ""
/// outside tests.
[[nodiscard]] std::vector<cgroup_directory> cgroup_directories(const std::string& root,
                                                               const std::string& controller);

}  // namespace prefork::base

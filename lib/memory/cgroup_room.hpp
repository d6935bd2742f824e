#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/cgroup.hpp"

namespace prefork::memory {

/// What the memory cgroups above this process leave it. Beyond it the kernel does not refuse
/// memory: it ends processes, one after another, and what lies in shared memory doesn't go with
/// them.
///
/// Asked before each growth of the region, whoever grows: files are read once in a while, more
/// often the less room there is. A look costs 20 to 40 µs.
class cgroup_room {
  public:
    /// No cgroups: room without end.
    cgroup_room() = default;
    /// Those of this process; `root` is "" outside tests.
    explicit cgroup_room(const std::string& root);

    /// False: bytes for which there is no room now. Nothing needs to be given back: the kernel
    /// counts.
    [[nodiscard]] bool take(std::uint64_t bytes) noexcept;

    /// What is left now, by the tightest of them. A quarter of each limit is for what the processes
    /// have of their own: the kernel counts that too, and asks nobody.
    [[nodiscard]] std::uint64_t now() const;

  private:
    std::vector<base::cgroup_directory> cgroups_;
    std::uint64_t known_ = 0;  ///< may be taken without another look
};

}  // namespace prefork::memory

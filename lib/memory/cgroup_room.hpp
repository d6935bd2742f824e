#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/cgroup.hpp"
#include "base/clock.hpp"

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

    /// False: there is no room now for so many bytes of the `shared` ones that all processes of the
    /// region will then have together. Nothing needs to be given back: the kernel counts.
    ///
    /// What one look has found is trusted for a moment, unless the region, by whichever of its
    /// processes, has grown by a part of it. Two that look at once may both be told yes: a quarter
    /// of the limit is left for that, too.
    [[nodiscard]] bool has(std::uint64_t bytes, std::uint64_t shared,
                           base::time_point now) noexcept;
    /// The same for bytes that won't be among the shared ones, and always by a look: it is asked
    /// when room is short.
    [[nodiscard]] bool has_private(std::uint64_t bytes, std::uint64_t shared,
                                   base::time_point now) noexcept {
        return look(bytes, shared, now);
    }

    /// What is left now, by the tightest of them; at least `enough` where it is more than that. A
    /// quarter of each limit is for what the processes have of their own: the kernel counts that
    /// too, and asks nobody.
    [[nodiscard]] std::uint64_t now(
        std::uint64_t enough = std::numeric_limits<std::uint64_t>::max()) const;

  private:
    bool look(std::uint64_t bytes, std::uint64_t shared, base::time_point now) noexcept;

    std::vector<base::cgroup_directory> cgroups_;
    // What the last look has found: up to so many shared bytes, and for so long.
    std::uint64_t trusted_to_ = 0;
    base::time_point trusted_until_;
};

}  // namespace prefork::memory

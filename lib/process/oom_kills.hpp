#pragma once

#include <cstdint>
#include <string>

namespace prefork::process {

/// Tells whether a worker that died of SIGKILL was the kernel's choice: the OOM killer counts its
/// victims in the cgroup that they belong to (memory.events of v2; memory.oom_control of v1, since
/// Linux 4.13), whichever limit it acted for. Where there is no such file, nobody can tell.
///
/// The count names no process: a kill of somebody else in the host's cgroup is taken for that of
/// the next worker that a stranger kills. One thread at a time.
class oom_kills {
  public:
    /// From now on. `root` is "" outside tests.
    explicit oom_kills(const std::string& root = "");
    /// After a death by SIGKILL that nobody explains: true when there was a kill more than were
    /// taken so far.
    [[nodiscard]] bool take();

  private:
    [[nodiscard]] std::uint64_t count() const;

    std::string file_;  ///< empty: no such file
    std::uint64_t taken_ = 0;
};

}  // namespace prefork::process

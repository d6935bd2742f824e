#pragma once

#include <cstddef>
#include <mutex>
#include <span>

// The regions of all pools of this process, so that a new fork server can let go of those that are
// not its own: what it inherits, it and its workers would keep from the kernel after their pool's
// end. Private memory of the host.

namespace prefork::memory {

struct live_region {
    std::span<std::byte> all;
    std::size_t words = 0;  ///< bytes at the beginning that are control and ring
};

/// \throws std::bad_alloc
void enter_region(const live_region& one);
/// Unmaps it too, under the same lock: nothing else is mapped there while somebody forks.
void leave_region(std::byte* base) noexcept;

/// While it lives no region comes or goes; it is held around the fork.
class regions_held {
  public:
    regions_held();
    regions_held(const regions_held&) = delete;
    regions_held& operator=(const regions_held&) = delete;

    /// In the new fork server: no other region than the one at `keep` is in use here any more. What
    /// was mapped reads as zeros (control and ring, which a task's copy of another pool may look
    /// at) or can't be read at all (arguments and results), and stays reserved, so that a pointer
    /// into it never means anything else.
    void let_go_of_others(const std::byte* keep) const noexcept;

  private:
    std::unique_lock<std::mutex> lock_;
};

}  // namespace prefork::memory

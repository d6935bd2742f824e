#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "memory/cgroup_room.hpp"

namespace prefork::memory {

/// How much shared memory may have pages, over all parts. One word a writer (seat 0 … n − 1, and
/// the host as the last), in shared memory, so that a dead worker's share can be set to zero: no
/// common counter, from which a death could not be subtracted.
///
/// A writer first publishes its own new sum, then adds up all: the budget is never exceeded, and
/// two that ask at once for the last bytes may both be refused.
///
/// A writer never reads its own word back, so its next take() or give_back() mends what a worker
/// gone wild wrote there. Until then the lie costs refusals; a sum above the limit, which no writer
/// can have published, counts as nothing, lest it refuse everybody for ever.
class budget {
  public:
    using word = std::atomic<std::uint64_t>;
    static_assert(word::is_always_lock_free && sizeof(word) == 8);

    budget(std::span<word> sums, std::uint64_t limit, cgroup_room room = {})
        : sums_(sums), own_(sums.size()), limit_(limit), room_(std::move(room)) {}

    /// By the one thread that writes `sums[writer]`. False, and nothing changed, if it would exceed
    /// the limit.
    [[nodiscard]] bool take(std::size_t writer, std::uint64_t bytes) noexcept;
    /// The same for pages that are to be had at once. 0, or why not: EDQUOT for the limit, ENOMEM
    /// for the cgroup's.
    [[nodiscard]] int take_pages(std::size_t writer, std::uint64_t bytes) noexcept;
    /// Whether the cgroup has room for that much private memory of the host.
    [[nodiscard]] bool has_private_room(std::uint64_t bytes) noexcept {
        return room_.has_private(bytes, taken(), base::monotonic::now());
    }
    /// After the pages are gone, not before.
    void give_back(std::size_t writer, std::uint64_t bytes) noexcept;
    /// By the writer: tells its sum once more, over whatever somebody else has written there.
    void tell(std::size_t writer) noexcept { publish(writer, own_[writer]); }
    /// Host, after the writer's proven death: its sum can't change any more, but by forget().
    void freeze(std::size_t writer) noexcept {
        own_[writer] = sums_[writer].load(std::memory_order_relaxed);
    }
    /// Host, for its own word and those of the dead: puts right what a worker has written over, and
    /// says what that was.
    [[nodiscard]] std::optional<std::uint64_t> mend(std::size_t writer) noexcept;
    /// Host, after the writer's proven death and the release of its pages.
    void forget(std::size_t writer) noexcept { publish(writer, 0); }

    [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }
    /// Bytes, over all writers; saturates, because any word may be a lie.
    [[nodiscard]] std::uint64_t taken() const noexcept;

  private:
    void publish(std::size_t writer, std::uint64_t sum) noexcept {
        own_[writer] = sum;
        // seq_cst here and in taken(): of two writers at least one sees the other.
        sums_[writer].store(sum, std::memory_order_seq_cst);
    }

    std::span<word> sums_;
    /// Private to this process: true for its own writers, and, in the host, for the dead.
    std::vector<std::uint64_t> own_;
    std::uint64_t limit_;
    cgroup_room room_;  ///< what pages have to fit into, too
};

/// Half of what the machine has available and of what every cgroup above us allows, whichever is
/// less. `root` is "" outside tests.
[[nodiscard]] std::uint64_t default_budget(const std::string& root = "");

}  // namespace prefork::memory

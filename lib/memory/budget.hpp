#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

namespace prefork::memory {

/// How much shared memory may have pages, over all parts. One word a writer (seat 0 … n − 1, and
/// the host as the last), in shared memory, so that a dead worker's share can be set to zero: no
/// common counter, from which a death could not be subtracted.
///
/// A writer first publishes its own new sum, then adds up all: the budget is never exceeded, and
/// two that ask at once for the last bytes may both be refused.
class budget {
  public:
    using word = std::atomic<std::uint64_t>;

    budget(std::span<word> sums, std::uint64_t limit) noexcept : sums_(sums), limit_(limit) {}

    /// By the one writer of `sums[writer]`. False, and nothing changed, if it would exceed the
    /// limit.
    [[nodiscard]] bool take(std::size_t writer, std::uint64_t bytes) noexcept;
    void give_back(std::size_t writer, std::uint64_t bytes) noexcept;
    /// Host, after the writer's proven death and the release of its pages.
    void forget(std::size_t writer) noexcept { sums_[writer].store(0, std::memory_order_seq_cst); }

    [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }
    /// Saturates: a worker gone wild may have written anything into its word.
    [[nodiscard]] std::uint64_t taken() const noexcept;

  private:
    std::span<word> sums_;
    std::uint64_t limit_;
};

/// Half of what the machine has available and of what every cgroup above us allows, whichever is
/// less. `root` is "" outside tests.
[[nodiscard]] std::uint64_t default_budget(const std::string& root = "");

}  // namespace prefork::memory

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>

#include "base/clock.hpp"
#include "ring/hint.hpp"

// Who sleeps, and who is woken (design.md §3). One futex word a worker and a bitmap of sleepers: a
// counter would be a truth that a dead process can't take back, and one word for all would wake
// them all.
//
// No wake-up is lost, by Dekker's argument on (idle bits, words of the ring):
//   a worker   sets its idle bit       ; looks at the ring once more ; sleeps
//   the host   publishes a slot word   ; looks at the idle bits      ; wakes
// Both first steps are seq_cst read-modify-writes and both second steps seq_cst loads, so in the
// single total order one of the two sees the other.

namespace prefork::ring {

/// A worker's own futex word, in a line of its own. Written by whoever wakes it.
struct alignas(128) bed {
    std::atomic<std::uint32_t> wakes;
};

/// Borrowed views of the shared hints and beds; the same in every process.
class sleepers {
  public:
    sleepers(hints& shared, std::span<bed> beds) noexcept
        : shared_(&shared), beds_(beds), words_((static_cast<unsigned>(beds.size()) + 63) / 64) {}

    /// One load a bitmap word in use, of lines that change only when somebody falls asleep or
    /// wakes.
    [[nodiscard]] bool any() const noexcept;

    /// Wakes up to `count` sleepers, lowest seat first (its caches are the warmest); how many.
    unsigned wake(unsigned count) noexcept;
    /// Wakes this one, asleep or not: a sleep that begins later returns at once.
    void wake_seat(unsigned seat) noexcept;
    /// Every bed, whether its bit is set or not.
    void wake_all() noexcept;

    /// Worker: sleeps until woken or `deadline`, unless `work()` finds something to do after the
    /// idle bit is set. The bit is clear again on return.
    template <class Work>
    void sleep(unsigned seat, base::time_point deadline, Work work);

    /// Host, after a proven death.
    void forget(unsigned seat) noexcept;

  private:
    [[nodiscard]] std::uint32_t lie_down(unsigned seat) noexcept;
    void get_up(unsigned seat) noexcept;
    void wait(unsigned seat, std::uint32_t seen, base::time_point deadline) noexcept;

    hints* shared_;
    std::span<bed> beds_;
    unsigned words_;
};

template <class Work>
void sleepers::sleep(unsigned seat, base::time_point deadline, Work work) {
    const std::uint32_t seen = lie_down(seat);
    if (!work()) wait(seat, seen, deadline);
    get_up(seat);
}

}  // namespace prefork::ring

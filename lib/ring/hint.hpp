#pragma once

#include <atomic>
#include <cstdint>

#include "ring/slot_word.hpp"

// What makes the ring fast and may be lost at any instant: each can be rebuilt from the words
// (design.md §2, rule 2). One cache line pair each, because each has another writer and another
// rhythm: the adjacent-line prefetcher moves lines in pairs of 64 bytes (Intel optimisation manual
// §2.4.1), hence 128.

namespace prefork::ring {

/// Two futex words per worker, 4 × 64 × 2 of them.
inline constexpr unsigned bitmap_words = 8;
static_assert(bitmap_words * 64 > slot_word::max_seats);
inline constexpr unsigned retry_entries = 8;

/// Positions of tasks of one priority, in order, beside the ring: `entries` of the ring's owner.
/// Advanced by compare-and-swap, never beyond tail, so that no entry is passed unseen.
struct alignas(128) queue_hint {
    std::atomic<std::uint64_t> head;
    /// Written by the host only.
    alignas(128) std::atomic<std::uint64_t> tail;

    [[nodiscard]] bool in_sight() const noexcept {
        // seq_cst: part of what a worker looks at before it sleeps (wake.hpp).
        return head.load(std::memory_order_seq_cst) != tail.load(std::memory_order_seq_cst);
    }
};

struct alignas(128) hints {
    /// Next position to reserve. Workers add 1; anybody may lower it, and that is always safe: the
    /// words say what is still to be done.
    std::atomic<std::uint64_t> head;
    /// One past the newest published position. Written by the host only, and read by workers
    /// only when they have nothing to do (a tail that is polled costs every submission 80 ns).
    alignas(128) std::atomic<std::uint64_t> tail;
    /// One bit a sleeping worker, so that a dead one's can be cleared.
    alignas(128) std::atomic<std::uint64_t> idle[bitmap_words];
    /// Positions of tasks that were put back, plus 1; 0 is none. Looked at before head.
    alignas(128) std::atomic<std::uint64_t> retry[retry_entries];
    /// Looked at before head, and after it. A task of high priority may also be found from head;
    /// one of low priority may not.
    queue_hint high;
    queue_hint low;
    /// Submitters wait for room, and whoever claims the position before this one, or a later one,
    /// makes enough: it writes 0 and wakes them. 0: nobody waits.
    alignas(128) std::atomic<std::uint64_t> room_wanted;
    /// Bumped by who makes room: the submitters' futex.
    std::atomic<std::uint32_t> room_made;
    /// Counts watched tasks that ended: the futex of who waits for any of several.
    std::atomic<std::uint32_t> completions;
};

/// Lowers `head` to `position` if it is ahead of it.
inline void lower_head(hints& shared, std::uint64_t position) noexcept {
    // Relaxed loads: a hint. The exchange is seq_cst so that whoever parks after us sees it.
    std::uint64_t now = shared.head.load(std::memory_order_relaxed);
    while (distance(position, now) > 0 &&
           !shared.head.compare_exchange_weak(now, position, std::memory_order_seq_cst,
                                              std::memory_order_relaxed)) {
    }
}

}  // namespace prefork::ring

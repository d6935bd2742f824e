#pragma once

#include <bit>
#include <cstdint>

#include "base/bit_field.hpp"

// The truth about one task (design.md §2): which submission, which run of it, who has it, and what
// became of it, in one 64-bit word that only ever changes by compare-and-swap.
//
//   63                  24 23     16   15     14       13    12       4 3      0
//   |         seq         | attempt | low | watched | waited |  owner   | state  |
//
// seq      40 bits: the ring position of the submission. Wraps after 12 days at 1 M tasks/s, so it
//          is compared for equality, or as a signed distance (`distance`)
// attempt  which run of the task, from 0, modulo 256; the host's books have the whole count
// low      of low priority: who comes past it on the way from head leaves it for the low queue
// watched  the host wants to hear of its end by way of its event descriptor: whoever commits it
//          says so
// waited   somebody in the host sleeps on the low half of this word: whoever commits it wakes them
// owner    seat + 1 of the worker, 0 nobody. A dead owner's words are found by scanning
// state    see `state`; `transition_allowed` is the whole list of who may change what
//
// state, owner, waited and watched lie in the low 32 bits because a futex is 32 bits wide.

namespace prefork::ring {

static_assert(std::endian::native == std::endian::little,
              "a futex sleeps on the low half of the slot word, found at its address");

enum class state : std::uint8_t {
    empty = 0,      ///< nothing here; the host may publish
    awaited = 1,    ///< nothing here, and the owner polls it: publishing needs no wake
    ready = 2,      ///< published, claimed by nobody
    claimed = 3,    ///< the owner has it; its journal says whether user code has begun
    done = 4,       ///< the owner committed a result (a value or an exception)
    cancelled = 5,  ///< the host gave it up
    timed_out = 6,  ///< its time was over, waiting or running
    lost = 7,       ///< its worker died, and no further attempt was allowed
};

class slot_word {
  public:
    using state_bits = base::bit_field<0, 4>;
    using owner_bits = base::bit_field<4, 9>;
    using waited_bit = base::bit_field<13, 1>;
    using watched_bit = base::bit_field<14, 1>;
    using low_bit = base::bit_field<15, 1>;
    using attempt_bits = base::bit_field<16, 8>;
    using seq_bits = base::bit_field<24, 40>;
    static_assert(owner_bits::low == state_bits::end && waited_bit::low == owner_bits::end &&
                  watched_bit::low == waited_bit::end && low_bit::low == watched_bit::end &&
                  attempt_bits::low == low_bit::end && seq_bits::low == attempt_bits::end &&
                  seq_bits::end == 64);

    /// Seats 0 … max_seats − 1; an owner is a seat + 1.
    static constexpr unsigned max_seats = owner_bits::max;

    constexpr slot_word() noexcept = default;
    constexpr explicit slot_word(std::uint64_t bits) noexcept : bits_(bits) {}
    static constexpr slot_word ready(std::uint64_t seq, std::uint64_t attempt) noexcept {
        return slot_word{seq_bits::put(seq) | attempt_bits::put(attempt)}.with(state::ready);
    }

    [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
    [[nodiscard]] constexpr std::uint32_t low_half() const noexcept {
        return static_cast<std::uint32_t>(bits_);
    }
    [[nodiscard]] constexpr ring::state state() const noexcept {
        return static_cast<ring::state>(state_bits::get(bits_));
    }
    [[nodiscard]] constexpr unsigned owner() const noexcept {
        return static_cast<unsigned>(owner_bits::get(bits_));
    }
    [[nodiscard]] constexpr bool waited() const noexcept { return waited_bit::get(bits_) != 0; }
    [[nodiscard]] constexpr bool watched() const noexcept { return watched_bit::get(bits_) != 0; }
    [[nodiscard]] constexpr bool is_low() const noexcept { return low_bit::get(bits_) != 0; }
    [[nodiscard]] constexpr std::uint64_t attempt() const noexcept {
        return attempt_bits::get(bits_);
    }
    [[nodiscard]] constexpr std::uint64_t seq() const noexcept { return seq_bits::get(bits_); }

    [[nodiscard]] constexpr bool is_terminal() const noexcept { return state() >= state::done; }

    [[nodiscard]] constexpr slot_word with(ring::state next) const noexcept {
        return slot_word{state_bits::set(bits_, static_cast<std::uint64_t>(next))};
    }
    [[nodiscard]] constexpr slot_word with_owner(unsigned owner) const noexcept {
        return slot_word{owner_bits::set(bits_, owner)};
    }
    [[nodiscard]] constexpr slot_word with_waited(bool waited) const noexcept {
        return slot_word{waited_bit::set(bits_, waited)};
    }
    [[nodiscard]] constexpr slot_word with_watched(bool watched) const noexcept {
        return slot_word{watched_bit::set(bits_, watched)};
    }
    [[nodiscard]] constexpr slot_word with_low(bool low) const noexcept {
        return slot_word{low_bit::set(bits_, low)};
    }
    /// Without what the host may set and clear in any state.
    [[nodiscard]] constexpr slot_word bare() const noexcept {
        return with_waited(false).with_watched(false);
    }

    friend constexpr bool operator==(slot_word, slot_word) noexcept = default;

  private:
    std::uint64_t bits_ = 0;
};

/// The same run of the same submission.
[[nodiscard]] constexpr bool same_attempt(slot_word a, slot_word b) noexcept {
    return a.seq() == b.seq() && a.attempt() == b.attempt();
}

/// The same, where a word of zero names no run at all: in a journal, in a worker's books.
[[nodiscard]] constexpr bool same_run(slot_word a, slot_word b) noexcept {
    return a.bits() != 0 && b.bits() != 0 && same_attempt(a, b);
}

/// How far position `to` lies ahead of `from`, modulo the width of seq.
[[nodiscard]] constexpr std::int64_t distance(std::uint64_t from, std::uint64_t to) noexcept {
    constexpr unsigned unused = 64 - 40;
    return static_cast<std::int64_t>((to - from) << unused) >> unused;
}

enum class actor : std::uint8_t { host, worker };

/// The whole protocol, as a predicate: may `who` (as owner `self` when a worker) change `from` into
/// `to`? Setting or clearing only `waited` and `watched` is the host's right in any state. Model
/// tests walk it.
[[nodiscard]] constexpr bool transition_allowed(slot_word from, slot_word to, actor who,
                                                unsigned self) noexcept {
    const bool same = same_attempt(from, to);
    if (who == actor::worker) {
        const bool mine = from.owner() == self;
        if (from.waited() != to.waited() && to.waited()) return false;
        if (from.watched() != to.watched() && to.watched()) return false;
        switch (from.state()) {
            case state::empty:
                return to.state() == state::awaited && to.owner() == self;
            case state::awaited:
                return mine && to.state() == state::empty && to.owner() == 0;
            case state::ready:
                return same && to.state() == state::claimed && to.owner() == self;
            case state::claimed:
                return same && mine && to.state() == state::done;
            default:
                return false;
        }
    }
    if (same && from.bare() == to.bare()) return true;
    switch (from.state()) {
        case state::empty:
            return to.state() == state::ready && to.owner() == 0;
        case state::awaited:
            return (to.state() == state::ready || to.state() == state::empty) && to.owner() == 0;
        case state::ready:
            return same && (to.state() == state::cancelled || to.state() == state::timed_out ||
                            to.state() == state::lost);
        case state::claimed:
            if (to.state() == state::ready) {
                return from.seq() == to.seq() && !same && to.owner() == 0;
            }
            return same && to.is_terminal() && to.state() != state::done;
        default:
            return to.state() == state::empty && to.owner() == 0;
    }
}

}  // namespace prefork::ring

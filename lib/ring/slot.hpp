#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/bit_field.hpp"
#include "ring/slot_word.hpp"

// A slot's layout: two cache lines, the first of which is all that a small task needs, so that a
// round trip moves that line to the worker and back and nothing else (design.md §3).
//
//    0   word         the truth (slot_word.hpp)
//    8   function     address of the invoker; every process is a fork of one image
//   16   description  size of the payload in bytes (48 bits), its kind (13 bits), and three bits:
//                     a label comes before the arguments; `due` counts; it refers to other blocks
//                     of the committing worker's part
//   24   submitted    ticks at publication, for the queueing time
//   32   payload      80 bytes inline: the arguments, then, in the same place, the result;
//                     kind `block`: the first 8 bytes are the block's offset in the region
//  112   number       which submission of the pool, inline ones included: what seeds are made of
//  120   due          nanoseconds of CLOCK_MONOTONIC by which it must have started
//
// A worker reads the last two only when they are asked for, so the second line stays the host's.
// A worker can write all of it at any time, out of its wits. So the host keeps what it needs in
// books of its own, reads `description` once, and checks it before use.

namespace prefork::ring {

enum class payload_kind : std::uint16_t {
    inlined = 0,          ///< the bytes are in the slot
    block = 1,            ///< the bytes are in an arena, at the offset in the slot
    exception = 2,        ///< inlined, and they are an exception, not a value
    exception_block = 3,  ///< in an arena, and an exception
    no_memory = 4,        ///< there was a result, and no memory to hold it; size says how much
    expired = 5,          ///< its time had come before it was started
};

inline constexpr std::size_t inline_payload_bytes = 80;

struct description {
    using size_bits = base::bit_field<0, 48>;
    using kind_bits = base::bit_field<48, 13>;
    using labelled_bit = base::bit_field<61, 1>;
    using timed_bit = base::bit_field<62, 1>;
    using refers_bit = base::bit_field<63, 1>;

    std::uint64_t size = 0;
    payload_kind kind = payload_kind::inlined;
    bool refers = false;
    bool labelled = false;
    bool timed = false;

    [[nodiscard]] static constexpr description unpack(std::uint64_t bits) noexcept {
        return {size_bits::get(bits), static_cast<payload_kind>(kind_bits::get(bits)),
                refers_bit::get(bits) != 0, labelled_bit::get(bits) != 0,
                timed_bit::get(bits) != 0};
    }
    [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
        return size_bits::put(size) | kind_bits::put(static_cast<std::uint64_t>(kind)) |
               refers_bit::put(refers) | labelled_bit::put(labelled) | timed_bit::put(timed);
    }
};

struct alignas(128) slot {
    std::atomic<std::uint64_t> word;
    std::uint64_t function;
    std::atomic<std::uint64_t> description;
    std::uint64_t submitted;
    alignas(32) std::array<std::byte, inline_payload_bytes> payload;
    std::uint64_t number;
    std::int64_t due;

    /// The half of the word that a host thread sleeps on.
    [[nodiscard]] const void* futex() const noexcept { return &word; }
};

static_assert(sizeof(slot) == 128 && std::is_standard_layout_v<slot>);
static_assert(offsetof(slot, payload) == 32 && offsetof(slot, submitted) == 24 &&
              offsetof(slot, number) == 112 && offsetof(slot, due) == 120);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace prefork::ring

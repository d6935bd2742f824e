#pragma once

#include <cstdint>

namespace prefork::base {

/// `Width` bits at position `Low` of a 64-bit word, as a value type would read them.
/// Fields are written where the word is described, so a layout reads as a list
/// (ring/slot_word.hpp).
template <unsigned Low, unsigned Width>
struct bit_field {
    static_assert(Width > 0 && Low + Width <= 64);

    static constexpr unsigned low = Low;
    static constexpr unsigned end = Low + Width;
    static constexpr std::uint64_t max = ~std::uint64_t{0} >> (64 - Width);
    static constexpr std::uint64_t mask = max << Low;

    [[nodiscard]] static constexpr std::uint64_t get(std::uint64_t word) noexcept {
        return (word & mask) >> Low;
    }
    /// `value` is taken modulo 2^Width.
    [[nodiscard]] static constexpr std::uint64_t put(std::uint64_t value) noexcept {
        return (value & max) << Low;
    }
    [[nodiscard]] static constexpr std::uint64_t set(std::uint64_t word,
                                                     std::uint64_t value) noexcept {
        return (word & ~mask) | put(value);
    }
};

}  // namespace prefork::base

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace prefork::memory {

/// A place in shared memory as another process names it: nothing about it is true before
/// `within()` says so.
struct offset {
    std::uint64_t from;  ///< bytes from the part's beginning
    std::uint64_t size;  ///< bytes

    /// The bytes meant, or nothing when they don't all lie in `part` or don't begin at a multiple
    /// of `alignment` (a power of two). Any two numbers may be asked about.
    [[nodiscard]] constexpr std::optional<std::span<std::byte>> within(
        std::span<std::byte> part, std::uint64_t alignment = 1) const noexcept {
        // In this order there is no sum that could overflow.
        if (from > part.size() || size > part.size() - from) return std::nullopt;
        if ((from & (alignment - 1)) != 0) return std::nullopt;
        return part.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(size));
    }
};

}  // namespace prefork::memory

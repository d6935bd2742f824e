#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "prefork/export.hpp"

namespace prefork::detail {

/// A payload begins at such an address, and nothing in it is aligned to more.
inline constexpr std::size_t payload_alignment = 32;

/// Where a T may lie in a payload. What is aligned to more is copied out before it is used.
template <class T>
inline constexpr std::size_t alignment_of = std::min(alignof(T), payload_alignment);

[[nodiscard]] constexpr std::size_t align_up(std::size_t at, std::size_t to) noexcept {
    return (at + to - 1) / to * to;
}

[[noreturn]] PREFORK_EXPORT void throw_decode_error(const char* what, std::size_t at,
                                                    std::size_t size);

/// Reads bytes that somebody else wrote, and may still be writing: every length is read once and
/// checked against what is there.
class payload_reader {
  public:
    explicit payload_reader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

    /// The next `count` elements of `size` bytes each, in place.
    [[nodiscard]] const std::byte* take(std::uint64_t count, std::size_t size,
                                        std::size_t alignment) {
        const std::size_t first = align_up(at_, alignment);
        if (first > bytes_.size() || count > (bytes_.size() - first) / size) {
            fail("a value reaches beyond the end");
        }
        at_ = first + static_cast<std::size_t>(count) * size;
        return bytes_.data() + first;
    }
    /// A number of elements, each of which takes at least a byte.
    [[nodiscard]] std::size_t take_count() {
        std::uint64_t count = 0;
        std::memcpy(&count, take(1, sizeof count, alignof(std::uint64_t)), sizeof count);
        if (count > left()) fail("a length reaches beyond the end");
        return static_cast<std::size_t>(count);
    }
    [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - at_; }
    /// Everything was read.
    void finish() const {
        if (left() != 0) fail("bytes are left over");
    }
    [[noreturn]] void fail(const char* what) const { throw_decode_error(what, at_, bytes_.size()); }

  private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
};

}  // namespace prefork::detail

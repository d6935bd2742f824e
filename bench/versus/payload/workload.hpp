#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/versus/support/turn.hpp"

// So many bytes (bytes=64) handed to another process, which says what it has seen of them.

namespace prefork::versus {

using payload = std::span<const std::byte>;

/// How many, and the last of them: the receiver has to know where they end, and no more, for what
/// is compared is the way, not the work.
[[nodiscard]] inline std::uint64_t seen(payload bytes) {
    return bytes.size() * 256 + (bytes.empty() ? 0 : std::to_integer<std::uint64_t>(bytes.back()));
}

/// `prepare(payload)` returns what hands it over, `std::uint64_t()`.
template <class Prepare>
int measure(int argc, char** argv, Prepare prepare) {
    turn mine{argc, argv};
    std::vector<std::byte> bytes(mine.get("bytes", 64), std::byte{1});
    if (!bytes.empty()) bytes.back() = std::byte{7};
    const std::uint64_t expected = seen(bytes);
    auto hand_over = prepare(payload{bytes});
    return mine.run_batches([&] {
        if (hand_over() != expected) wrong_answer("not all bytes are there");
    });
}

}  // namespace prefork::versus

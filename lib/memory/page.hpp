#pragma once

#include <unistd.h>

#include <cstdint>

namespace prefork::memory {

/// What the kernel gives and takes at a time: 4 KiB on x86-64, up to 64 KiB on arm64.
[[nodiscard]] inline std::uint64_t page_bytes() noexcept {
    static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return bytes;
}

/// `bytes` up to the next multiple of `unit`; must not overflow.
[[nodiscard]] constexpr std::uint64_t align_up(std::uint64_t bytes, std::uint64_t unit) noexcept {
    return (bytes + unit - 1) / unit * unit;
}

[[nodiscard]] constexpr std::uint64_t align_down(std::uint64_t bytes, std::uint64_t unit) noexcept {
    return bytes / unit * unit;
}

}  // namespace prefork::memory

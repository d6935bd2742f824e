#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "prefork/detail/payload.hpp"

// How a label travels: in front of the arguments, because the worker shows it in ps and log lines,
// and it must not cost a task that has none.
//
//   size (4 bytes)   the label   padding to payload_alignment   the arguments

namespace prefork::detail {

inline constexpr std::size_t longest_label = 200;

/// A label in front of a payload. Never longer than what it is read from.
class label_prefix {
  public:
    explicit label_prefix(std::string_view label) noexcept : label_(label) {}
    /// From the head of a payload.
    explicit label_prefix(std::span<const std::byte> payload) noexcept {
        std::uint32_t size = 0;
        most_ = payload.size();
        if (payload.size() < sizeof size) return;
        std::memcpy(&size, payload.data(), sizeof size);
        label_ = {reinterpret_cast<const char*>(payload.data()) + sizeof size,
                  std::min<std::size_t>(size, payload.size() - sizeof size)};
    }

    [[nodiscard]] std::string_view label() const noexcept { return label_; }
    /// Bytes before the arguments.
    [[nodiscard]] std::size_t size() const noexcept {
        return std::min(most_, align_up(sizeof(std::uint32_t) + label_.size(), payload_alignment));
    }
    void write(std::byte* to) const noexcept {
        const auto size = static_cast<std::uint32_t>(label_.size());
        std::memcpy(to, &size, sizeof size);
        std::memcpy(to + sizeof size, label_.data(), label_.size());
    }

  private:
    std::string_view label_;
    std::size_t most_ = ~std::size_t{0};
};

}  // namespace prefork::detail

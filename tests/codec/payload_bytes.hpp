#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "prefork/detail/payload.hpp"
#include "prefork/error.hpp"

namespace prefork::test {

/// Bytes on the heap, aligned as a payload is and not one longer, so that a sanitizer sees a read
/// beyond their end.
class payload_bytes {
  public:
    explicit payload_bytes(std::size_t size)
        : size_(size),
          first_(static_cast<std::byte*>(
              ::operator new (size, std::align_val_t{detail::payload_alignment}))) {
        if (size != 0) std::memset(first_, 0, size);
    }
    explicit payload_bytes(std::span<const std::byte> from) : payload_bytes(from.size()) {
        if (size_ != 0) std::memcpy(first_, from.data(), size_);
    }
    payload_bytes(payload_bytes&& other) noexcept
        : size_(std::exchange(other.size_, 0)), first_(std::exchange(other.first_, nullptr)) {}
    payload_bytes& operator=(payload_bytes&&) = delete;
    ~payload_bytes() { ::operator delete (first_, std::align_val_t{detail::payload_alignment}); }

    [[nodiscard]] std::byte* data() noexcept { return first_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {first_, size_}; }
    /// A sequence's count lies there.
    void put_count(std::size_t at, std::uint64_t count) {
        std::memcpy(first_ + at, &count, sizeof count);
    }

  private:
    std::size_t size_;
    std::byte* first_;
};

template <class Codec, class... Ts>
[[nodiscard]] payload_bytes encoded(const Ts&... values) {
    const detail::encoder<Codec, Ts...> encoder{values...};
    payload_bytes bytes{encoder.size()};
    encoder.write(bytes.data());
    return bytes;
}

/// What arrives of one value.
template <class Codec, class T>
[[nodiscard]] T there_and_back(const T& value) {
    const payload_bytes bytes = encoded<Codec>(value);
    return std::get<0>(detail::decode<Codec, T>(bytes.bytes()));
}

/// True when decode() gives values or throws decode_error. Anything else that it throws goes on.
template <class Codec, class... Ts>
bool decodes(std::span<const std::byte> bytes) {
    const payload_bytes exact{bytes};
    try {
        static_cast<void>(detail::decode<Codec, Ts...>(exact.bytes()));
        return true;
    } catch (const decode_error&) {
        return false;
    }
}

/// Decodes every truncation of what `values` encode to, and then every payload with one byte of it
/// changed. How many of the truncations passed for whole ones.
template <class Codec, class... Ts>
std::size_t damage(const Ts&... values) {
    payload_bytes bytes = encoded<Codec>(values...);
    std::size_t accepted = 0;
    for (std::size_t size = 0; size != bytes.size(); ++size)
        if (decodes<Codec, Ts...>(bytes.bytes().first(size))) ++accepted;
    for (std::size_t at = 0; at != bytes.size(); ++at) {
        const std::byte kept = bytes.data()[at];
        for (const unsigned change : {0x01u, 0x02u, 0x10u, 0x40u, 0x80u, 0xffu}) {
            bytes.data()[at] = kept ^ std::byte(change);
            decodes<Codec, Ts...>(bytes.bytes());
        }
        bytes.data()[at] = kept;
    }
    return accepted;
}

}  // namespace prefork::test

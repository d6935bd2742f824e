#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <span>

namespace prefork::versus {

/// Calls `some(from, how_many)`, which is read() or write() of some of them, until all have been
/// there; false at the end of the file, or on an error.
template <class Byte, class Some>
[[nodiscard]] bool whole(std::span<Byte> bytes, Some some) {
    while (!bytes.empty()) {
        const ssize_t now = some(bytes.data(), bytes.size());
        if (now <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(now));
    }
    return true;
}

[[nodiscard]] inline bool read_whole(int fd, std::span<std::byte> into) {
    return whole(into, [fd](void* to, std::size_t size) { return ::read(fd, to, size); });
}
[[nodiscard]] inline bool write_whole(int fd, std::span<const std::byte> from) {
    return whole(from, [fd](const void* at, std::size_t size) { return ::write(fd, at, size); });
}

template <class T>
[[nodiscard]] std::span<std::byte> bytes_of(T& value) {
    return std::as_writable_bytes(std::span<T, 1>{&value, 1});
}

}  // namespace prefork::versus

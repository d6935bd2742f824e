#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <string>

// A task's exception on its way to the caller: which standard type, its own type's name, its
// message.

namespace prefork::detail {

/// In the catch block of a worker: the exception being handled, as bytes. At most `limit` bytes:
/// the message is cut. Never throws; without memory it still says that there was none.
[[nodiscard]] std::string encode_current_exception(std::size_t limit) noexcept;

/// In a catch block: the class of the exception being handled, demangled. \throws std::bad_alloc
[[nodiscard]] std::string current_exception_type();

/// In the host: the exception that `bytes`, which a worker wrote, describe. A standard type arrives
/// as itself and as task_error; a class derived from one arrives as its nearest standard base and
/// task_error; anything else as task_error. Bytes that make no sense arrive as decode_error.
[[nodiscard]] std::exception_ptr decode_exception(std::span<const std::byte> bytes) noexcept;

}  // namespace prefork::detail

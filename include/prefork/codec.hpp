#pragma once

/// How arguments and results become bytes.
///
/// A pool chooses by type at compile time: raw for what it carries, then msgpack, then
/// boost_archive, as far as their headers are included *before* the first use of the type; a type
/// must see the same headers in every translation unit. `pool.with(codec::msgpack)` insists on one,
/// but string_view, span and shared_array are passed in place under each.
namespace prefork::codec {

struct automatic_t {};
struct raw_t {};
struct msgpack_t {};
struct boost_archive_t {};

inline constexpr automatic_t automatic;
/// Trivially copyable values bit for bit; strings; std::vector, array, optional, pair, tuple and
/// variant of what it carries. string_view and span of const are for arguments: the task sees them
/// in place, without a copy.
///
/// A trivially copyable class that holds a pointer can't be told from others: what it points to
/// is, in a worker, what was there when the worker was forked.
inline constexpr raw_t raw;

/// Specialise as true for a type that msgpack-cxx packs by an adaptor of yours, and for an enum
/// given to MSGPACK_ADD_ENUM.
template <class T>
inline constexpr bool is_msgpack = false;

/// Specialise as true for a type whose serialize() isn't found: a private one of a final class.
template <class T>
inline constexpr bool is_boost_archive = false;

}  // namespace prefork::codec

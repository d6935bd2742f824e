#pragma once

/// How arguments and results become bytes.
///
/// A pool chooses by type at compile time: raw where a memcpy does, then msgpack and boost_archive
/// for the types that they carry and as far as their headers are included *before* the first use of
/// the type; the same type must see the same headers in every translation unit.
/// `pool.with(codec::msgpack)` insists on one.
namespace prefork::codec {

struct automatic_t {};
struct raw_t {};
struct msgpack_t {};
struct boost_archive_t {};

inline constexpr automatic_t automatic;
/// Trivially copyable values bit for bit; std::string, string_view, span and vector of such values.
/// string_view and span are for arguments: the task sees them in place, without a copy.
inline constexpr raw_t raw;

/// Specialise as true for a type that msgpack-cxx packs by an adaptor of yours.
template <class T>
inline constexpr bool is_msgpack = false;

}  // namespace prefork::codec

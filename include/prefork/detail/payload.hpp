#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>

#include "prefork/codec.hpp"
#include "prefork/detail/payload_raw.hpp"
#include "prefork/detail/payload_reader.hpp"

// A payload: values one after another, each in raw form (payload_raw.hpp) or packed by another
// codec, which then is a sequence of bytes like a string's.

namespace prefork::detail {

// Filled in by <prefork/codec/msgpack.hpp> and <prefork/codec/boost_archive.hpp>: `carries`,
// `std::string pack(const T&)`, `T unpack(std::span<const std::byte>)`.
template <class T>
struct msgpack_codec {
    static constexpr bool carries = false;
};
template <class T>
struct boost_codec {
    static constexpr bool carries = false;
};

template <class T>
concept carried_by_msgpack = msgpack_codec<T>::carries;
template <class T>
concept carried_by_boost_archive = boost_codec<T>::carries;
/// Raw under every codec: what is seen in place, and handles into the region.
template <class T>
concept always_raw = carried_by_raw<T> &&(is_view<T> || custom_coded<T>);

enum class carrier : std::uint8_t { none, raw, msgpack, boost_archive };

template <class Codec, class T>
consteval carrier carrier_of() {
    constexpr bool automatic = std::is_same_v<Codec, codec::automatic_t>;
    if constexpr (always_raw<T>) return carrier::raw;
    if constexpr (automatic || std::is_same_v<Codec, codec::raw_t>)
        if constexpr (carried_by_raw<T>) return carrier::raw;
    if constexpr (automatic || std::is_same_v<Codec, codec::msgpack_t>)
        if constexpr (carried_by_msgpack<T>) return carrier::msgpack;
    if constexpr (automatic || std::is_same_v<Codec, codec::boost_archive_t>)
        if constexpr (carried_by_boost_archive<T>) return carrier::boost_archive;
    return carrier::none;
}

template <class T, class Codec>
concept carried_by = carrier_of<Codec, T>()
!= carrier::none;

/// Says why a type doesn't compile, if it doesn't.
template <class Codec, class T>
consteval void check_carried() {
    if constexpr (refers<T>) {
        static_assert(
            !refers<T>,
            "prefork: a pointer or reference means nothing in another process: pass the "
            "value, a std::string_view or a std::span of const, or a prefork::shared_array");
    } else if constexpr (is_writable_span<T>) {
        static_assert(!is_writable_span<T>,
                      "prefork: a task sees its caller's elements, it can't change them: take a "
                      "std::span of const, and return what changes");
    } else if constexpr (std::is_same_v<Codec, codec::raw_t>) {
        static_assert(
            carried_by<T, Codec>,
            "prefork: codec::raw carries trivially copyable values, strings, spans of const, and "
            "std::vector, array, optional, pair, tuple and variant of these; this type needs "
            "codec::msgpack or codec::boost_archive");
    } else if constexpr (std::is_same_v<Codec, codec::msgpack_t>) {
        static_assert(
            carried_by<T, Codec>,
            "prefork: codec::msgpack doesn't carry this type: include <prefork/codec/msgpack.hpp> "
            "first, and give the type MSGPACK_DEFINE and a default constructor");
    } else if constexpr (std::is_same_v<Codec, codec::boost_archive_t>) {
        static_assert(
            carried_by<T, Codec>,
            "prefork: codec::boost_archive doesn't carry this type: include "
            "<prefork/codec/boost_archive.hpp> first, and give the type a serialize() and a "
            "default constructor");
    } else {
        static_assert(carried_by<T, Codec>,
                      "prefork: no codec carries this type. Make it trivially copyable; or include "
                      "<prefork/codec/msgpack.hpp> and give it MSGPACK_DEFINE; or include "
                      "<prefork/codec/boost_archive.hpp> and give it a serialize()");
    }
}

/// A T that another codec packs.
template <class Packing, class T>
struct packed {
    using held = std::string;

    static held hold(const T& value) { return Packing::pack(value); }
    static std::size_t measure(std::size_t at, const held& bytes) noexcept {
        return raw_form<std::string>::measure(at, bytes);
    }
    static std::size_t write(std::byte* base, std::size_t at, const held& bytes) noexcept {
        return raw_form<std::string>::write(base, at, bytes);
    }
    [[nodiscard]] static T read(payload_reader& from) {
        const std::size_t size = from.take_count();
        return Packing::unpack({from.take(size, 1, 1), size});
    }
};

/// A T that is borrowed until it is written.
template <class T>
struct borrowed {
    using held = const T*;

    static held hold(const T& value) noexcept { return std::addressof(value); }
    static std::size_t measure(std::size_t at, held value) noexcept {
        return raw_form<T>::measure(at, *value);
    }
    static std::size_t write(std::byte* base, std::size_t at, held value) noexcept {
        return raw_form<T>::write(base, at, *value);
    }
    [[nodiscard]] static T read(payload_reader& from) { return raw_form<T>::read(from); }
};

/// Nothing: check_carried() has said why it doesn't compile, and no other error hides that one.
template <class T>
struct uncarried {
    using held = const T*;

    static held hold(const T& value) noexcept { return std::addressof(value); }
    static std::size_t measure(std::size_t at, held) noexcept { return at; }
    static std::size_t write(std::byte*, std::size_t at, held) noexcept { return at; }
    [[nodiscard]] static T read(payload_reader& from) { from.fail("no codec carries this type"); }
};

template <carrier Which, class T>
struct carriage : uncarried<T> {};
template <class T>
struct carriage<carrier::raw, T> : borrowed<T> {};
template <class T>
struct carriage<carrier::msgpack, T> : packed<msgpack_codec<T>, T> {};
template <class T>
struct carriage<carrier::boost_archive, T> : packed<boost_codec<T>, T> {};

template <class Codec, class T>
using carriage_of = carriage<carrier_of<Codec, T>(), T>;

/// A value on its way into a payload: raw ones are borrowed, others packed at construction.
template <class Codec, class T>
class outgoing {
    using form = carriage_of<Codec, T>;

  public:
    explicit outgoing(const T& value) : held_(form::hold(value)) { check_carried<Codec, T>(); }
    [[nodiscard]] std::size_t measure(std::size_t at) const noexcept {
        return form::measure(at, held_);
    }
    std::size_t write(std::byte* base, std::size_t at) const noexcept {
        return form::write(base, at, held_);
    }

  private:
    typename form::held held_;
};

template <class Codec, class T>
[[nodiscard]] T incoming(payload_reader& from) {
    check_carried<Codec, T>();
    return carriage_of<Codec, T>::read(from);
}

/// All of a call's values as one payload.
template <class Codec, class... Ts>
class encoder {
  public:
    explicit encoder(const Ts&... values) : values_(outgoing<Codec, Ts>(values)...) {}
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t at = 0;
        std::apply([&](const auto&... each) { ((at = each.measure(at)), ...); }, values_);
        return at;
    }
    /// `base` is aligned to payload_alignment and has room for size() bytes. Padding is not
    /// written.
    void write(std::byte* base) const noexcept {
        std::size_t at = 0;
        std::apply([&](const auto&... each) { ((at = each.write(base, at)), ...); }, values_);
    }

  private:
    std::tuple<outgoing<Codec, Ts>...> values_;
};

/// The values, of which views point into `bytes`. \throws decode_error
template <class Codec, class... Ts>
[[nodiscard]] std::tuple<Ts...> decode(std::span<const std::byte> bytes) {
    payload_reader from{bytes};
    std::tuple<Ts...> values{incoming<Codec, Ts>(from)...};  // braces: left to right
    from.finish();
    return values;
}

/// For what travels as its bytes whatever it is: a task's callable.
struct raw_encoding {
    template <class T>
    static std::size_t measure(std::size_t at, const T&) noexcept {
        return align_up(at, alignment_of<T>) + sizeof(T);
    }
    template <class T>
    static std::size_t write(std::byte* base, std::size_t at, const T& value) noexcept {
        at = align_up(at, alignment_of<T>);
        std::memcpy(base + at, std::addressof(value), sizeof(T));
        return at + sizeof(T);
    }
};

}  // namespace prefork::detail

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "prefork/codec.hpp"
#include "prefork/export.hpp"

// A payload: values one after another, each at its own alignment (at most 32, the alignment of the
// payload itself). A sequence is a 64-bit count and its elements.

namespace prefork::detail {

inline constexpr std::size_t payload_alignment = 32;

[[noreturn]] PREFORK_EXPORT void throw_decode_error(const char* what, std::size_t at,
                                                    std::size_t size);

[[nodiscard]] constexpr std::size_t align_up(std::size_t at, std::size_t to) noexcept {
    return (at + to - 1) / to * to;
}

/// Reads bytes that somebody else wrote: every length is checked against what is there.
class payload_reader {
  public:
    explicit payload_reader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

    /// The next `count` elements of `size` bytes each, in place.
    [[nodiscard]] const std::byte* take(std::uint64_t count, std::size_t size,
                                        std::size_t alignment) {
        const std::size_t first = align_up(at_, alignment);
        if (first > bytes_.size() ||
            count > (bytes_.size() - first) / std::max<std::size_t>(size, 1)) {
            throw_decode_error("a value reaches beyond the end", at_, bytes_.size());
        }
        at_ = first + static_cast<std::size_t>(count) * size;
        return bytes_.data() + first;
    }
    [[nodiscard]] std::uint64_t take_count() {
        std::uint64_t count = 0;
        std::memcpy(&count, take(1, sizeof count, alignof(std::uint64_t)), sizeof count);
        return count;
    }
    /// Everything was read.
    void finish() const {
        if (at_ != bytes_.size()) throw_decode_error("bytes are left over", at_, bytes_.size());
    }

  private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
};

/// For types of this library that travel as a small trivially copyable value (shared_array). A
/// specialisation has `wire`, `wire to_wire(const T&)` and `T from_wire(wire)`.
template <class T>
struct custom_codec {};

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
concept custom_coded = requires {
    typename custom_codec<T>::wire;
};

/// Strings, vectors, spans: contiguous elements that a memcpy carries.
template <class T>
struct sequence_of {};
template <>
struct sequence_of<std::string> {
    using element = char;
};
template <>
struct sequence_of<std::string_view> {
    using element = const char;
};
template <class E>
struct sequence_of<std::span<E>> {
    using element = E;
};
template <class E, class A>
requires(!std::is_same_v<E, bool>) struct sequence_of<std::vector<E, A>> {
    using element = E;
};

template <class T>
concept raw_element =
    std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_member_pointer_v<T> &&
    !std::is_reference_v<T> && alignof(T) <= payload_alignment;
template <class T>
concept raw_sequence = requires {
    typename sequence_of<T>::element;
}
&&raw_element<std::remove_cv_t<typename sequence_of<T>::element>>;
template <class T>
concept is_view = requires {
    typename sequence_of<T>::element;
}
&&std::is_trivially_copyable_v<T>;
template <class T>
concept function_pointer = std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>;
template <class T>
concept raw_value = ((raw_element<T> && !is_view<T>) || function_pointer<T>)&&!custom_coded<T>;
template <class T>
concept raw_coded = raw_value<T> || raw_sequence<T> || custom_coded<T>;

template <class T>
[[nodiscard]] T read_value(payload_reader& from) {
    alignas(T) std::byte bytes[sizeof(T)];
    std::memcpy(bytes, from.take(1, sizeof(T), alignof(T)), sizeof(T));
    if constexpr (std::is_same_v<T, bool>) {
        if (bytes[0] > std::byte{1}) throw_decode_error("a bool is neither 0 nor 1", 0, sizeof(T));
    }
    return std::move(*std::launder(reinterpret_cast<T*>(bytes)));
}

struct raw_encoding {
    template <class T>
    static std::size_t measure(std::size_t at, const T& value) noexcept {
        if constexpr (custom_coded<T>) {
            using wire = typename custom_codec<T>::wire;
            return align_up(at, alignof(wire)) + sizeof(wire);
        } else if constexpr (raw_sequence<T>) {
            using element = typename sequence_of<T>::element;
            return align_up(align_up(at, 8) + 8, alignof(element)) + value.size() * sizeof(element);
        } else {
            return align_up(at, alignof(T)) + sizeof(T);
        }
    }
    template <class T>
    static std::size_t write(std::byte* base, std::size_t at, const T& value) noexcept {
        if constexpr (custom_coded<T>) {
            return write(base, at, custom_codec<T>::to_wire(value));
        } else if constexpr (raw_sequence<T>) {
            using element = typename sequence_of<T>::element;
            at = write(base, at, static_cast<std::uint64_t>(value.size()));
            at = align_up(at, alignof(element));
            if (!value.empty())
                std::memcpy(base + at, value.data(), value.size() * sizeof(element));
            return at + value.size() * sizeof(element);
        } else {
            at = align_up(at, alignof(T));
            std::memcpy(base + at, &value, sizeof(T));
            return at + sizeof(T);
        }
    }
    template <class T>
    [[nodiscard]] static T read(payload_reader& from) {
        if constexpr (custom_coded<T>) {
            return custom_codec<T>::from_wire(read_value<typename custom_codec<T>::wire>(from));
        } else if constexpr (raw_sequence<T>) {
            using element = typename sequence_of<T>::element;
            const std::uint64_t count = from.take_count();
            const std::byte* const bytes = from.take(count, sizeof(element), alignof(element));
            const auto* const first = reinterpret_cast<const element*>(bytes);
            if constexpr (is_view<T>) {
                return T{first, static_cast<std::size_t>(count)};
            } else {
                return T(first, first + count);
            }
        } else {
            return read_value<T>(from);
        }
    }
};

/// What msgpack_codec and boost_codec pack is a sequence of bytes like any other.
template <class Packing, class T>
[[nodiscard]] T read_packed(payload_reader& from) {
    const std::uint64_t size = from.take_count();
    return Packing::unpack({from.take(size, 1, 1), static_cast<std::size_t>(size)});
}

template <class T>
concept carried_by_raw = raw_coded<T>;
template <class T>
concept carried_by_msgpack = msgpack_codec<T>::carries;
template <class T>
concept carried_by_boost_archive = boost_codec<T>::carries;

template <class Codec, class T>
consteval void check_carried() {
    if constexpr (std::is_same_v<Codec, codec::raw_t>) {
        static_assert(
            carried_by_raw<T>,
            "prefork: codec::raw carries trivially copyable values, strings, and vectors or "
            "spans of such values; this type needs codec::msgpack or codec::boost_archive");
    } else if constexpr (std::is_same_v<Codec, codec::msgpack_t>) {
        static_assert(carried_by_msgpack<T>,
                      "prefork: codec::msgpack doesn't carry this type: include "
                      "<prefork/codec/msgpack.hpp> first and give the type MSGPACK_DEFINE");
    } else if constexpr (std::is_same_v<Codec, codec::boost_archive_t>) {
        static_assert(carried_by_boost_archive<T>,
                      "prefork: codec::boost_archive doesn't carry this type: include "
                      "<prefork/codec/boost_archive.hpp> first and give the type a serialize()");
    } else {
        static_assert(carried_by_raw<T> || carried_by_msgpack<T> || carried_by_boost_archive<T>,
                      "prefork: no codec carries this type. Make it trivially copyable; or include "
                      "<prefork/codec/msgpack.hpp> and give it MSGPACK_DEFINE; or include "
                      "<prefork/codec/boost_archive.hpp> and give it a serialize()");
    }
}

template <class Codec, class T>
inline constexpr bool use_raw = std::is_same_v<Codec, codec::raw_t> ||
                                (std::is_same_v<Codec, codec::automatic_t> && carried_by_raw<T>);
template <class Codec, class T>
inline constexpr bool use_msgpack = std::is_same_v<Codec, codec::msgpack_t> ||
                                    (std::is_same_v<Codec, codec::automatic_t> &&
                                     !carried_by_raw<T> && carried_by_msgpack<T>);

/// A value on its way into a payload: raw values are borrowed, others packed at construction.
template <class Codec, class T>
class outgoing {
  public:
    explicit outgoing(const T& value) : held_(hold(value)) { check_carried<Codec, T>(); }
    [[nodiscard]] std::size_t measure(std::size_t at) const noexcept {
        return raw_encoding::measure(at, get());
    }
    std::size_t write(std::byte* base, std::size_t at) const noexcept {
        return raw_encoding::write(base, at, get());
    }

  private:
    static auto hold(const T& value) {
        if constexpr (use_raw<Codec, T> && carried_by_raw<T>) {
            return &value;
        } else if constexpr (use_msgpack<Codec, T> && carried_by_msgpack<T>) {
            return msgpack_codec<T>::pack(value);
        } else if constexpr (carried_by_boost_archive<T>) {
            return boost_codec<T>::pack(value);
        } else {
            return std::string{};  // check_carried() has said why this doesn't compile
        }
    }
    [[nodiscard]] const auto& get() const noexcept {
        if constexpr (std::is_pointer_v<decltype(held_)>) {
            return *held_;
        } else {
            return held_;
        }
    }

    decltype(hold(std::declval<const T&>())) held_;
};

template <class Codec, class T>
[[nodiscard]] T incoming(payload_reader& from) {
    check_carried<Codec, T>();
    if constexpr (use_raw<Codec, T>) {
        return raw_encoding::read<T>(from);
    } else if constexpr (use_msgpack<Codec, T>) {
        return read_packed<msgpack_codec<T>, T>(from);
    } else {
        return read_packed<boost_codec<T>, T>(from);
    }
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

template <class Codec, class... Ts>
[[nodiscard]] std::tuple<Ts...> decode(std::span<const std::byte> bytes) {
    payload_reader from{bytes};
    std::tuple<Ts...> values{incoming<Codec, Ts>(from)...};  // braces: left to right
    from.finish();
    return values;
}

}  // namespace prefork::detail

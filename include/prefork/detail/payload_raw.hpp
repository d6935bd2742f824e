#pragma once

#include <array>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "prefork/detail/payload_reader.hpp"

// The raw form of a value:
//
//   trivially copyable   its bytes, at its alignment
//   string, vector       a 64-bit count, then the elements; string_view and span likewise
//   optional             a byte, 0 or 1, then the value if 1
//   pair, tuple, array   one after another
//   variant              a 64-bit index, then that alternative
//
// optional, variant and bool have values that no program may see (an index without an alternative):
// that is why they are not memcpy'd even where they are trivially copyable.

namespace prefork::detail {

/// For types of this library that travel as a small trivially copyable value (shared_array). A
/// specialisation has `wire`, `static wire to_wire(const T&)` and `static T from_wire(wire)`.
template <class T>
struct custom_codec {};
template <class T>
concept custom_coded = requires {
    typename custom_codec<T>::wire;
};

template <class T>
concept function_pointer = std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>;

/// Refers to the sender's memory. A class of the user's that hides a pointer can't be told apart.
template <class T>
inline constexpr bool refers = std::is_reference_v<T> ||
                               (std::is_pointer_v<T> && !function_pointer<T>);
template <class T>
inline constexpr bool refers<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool refers<std::initializer_list<T>> = true;

template <class T>
inline constexpr bool is_writable_span = false;
template <class E, std::size_t N>
inline constexpr bool is_writable_span<std::span<E, N>> = !std::is_const_v<E>;

/// Travels as its bytes, any of which are a value. Code has the same address in every process, so
/// pointers to functions and members do too.
template <class T>
inline constexpr bool is_plain = std::is_trivially_copyable_v<T>&& std::is_object_v<T> &&
                                 !std::is_array_v<T> && !std::is_same_v<T, bool> && !refers<T>;
template <class E, std::size_t N>
inline constexpr bool is_plain<std::array<E, N>> = is_plain<E>;
template <class... Ts>
inline constexpr bool is_plain<std::tuple<Ts...>> = sizeof...(Ts) == 0;
template <class First, class Second>
inline constexpr bool is_plain<std::pair<First, Second>> = false;
template <class T>
inline constexpr bool is_plain<std::optional<T>> = false;
template <class... Ts>
inline constexpr bool is_plain<std::variant<Ts...>> = false;
template <class E, std::size_t N>
inline constexpr bool is_plain<std::span<E, N>> = false;
template <class C, class Traits>
inline constexpr bool is_plain<std::basic_string_view<C, Traits>> = false;
template <class T>
concept plain = is_plain<T> && !custom_coded<T>;
/// A sequence of these is one memcpy, and can be seen in place.
template <class T>
concept plain_element = (plain<T> && alignof(T) <= payload_alignment) || std::is_same_v<T, bool>;

template <class T>
[[nodiscard]] T read_value(payload_reader& from) {
    alignas(T) std::byte bytes[sizeof(T)];
    std::memcpy(bytes, from.take(1, sizeof(T), alignment_of<T>), sizeof(T));
    if constexpr (std::is_same_v<T, bool>) {
        if (bytes[0] > std::byte{1}) from.fail("a bool is neither 0 nor 1");
    }
    return std::move(*std::launder(reinterpret_cast<T*>(bytes)));
}

/// Where a T ends that begins at or after `at`; writes it there; reads it. `in_place`: what is read
/// points into the payload.
template <class T>
struct raw_form {
    static constexpr bool carries = false;
    static constexpr bool in_place = false;
};

template <class T>
requires(plain<T> || std::is_same_v<T, bool>) struct raw_form<T> {
    static constexpr bool carries = true;
    static constexpr bool in_place = false;

    static std::size_t measure(std::size_t at, const T&) noexcept {
        return align_up(at, alignment_of<T>) + sizeof(T);
    }
    static std::size_t write(std::byte* base, std::size_t at, const T& value) noexcept {
        at = align_up(at, alignment_of<T>);
        std::memcpy(base + at, std::addressof(value), sizeof(T));
        return at + sizeof(T);
    }
    [[nodiscard]] static T read(payload_reader& from) { return read_value<T>(from); }
};

template <custom_coded T>
struct raw_form<T> {
    using wire = typename custom_codec<T>::wire;
    static_assert(plain<wire>);
    static constexpr bool carries = true;
    static constexpr bool in_place = false;

    static std::size_t measure(std::size_t at, const T&) noexcept {
        return align_up(at, alignment_of<wire>) + sizeof(wire);
    }
    static std::size_t write(std::byte* base, std::size_t at, const T& value) noexcept {
        return raw_form<wire>::write(base, at, custom_codec<T>::to_wire(value));
    }
    [[nodiscard]] static T read(payload_reader& from) {
        return custom_codec<T>::from_wire(read_value<wire>(from));
    }
};

/// Strings, views and vectors whose elements lie side by side.
template <class T, class E, std::size_t Extent = std::dynamic_extent>
struct raw_sequence {
    static constexpr bool carries = true;
    static constexpr bool in_place = false;

    static std::size_t measure(std::size_t at, const T& value) noexcept {
        return align_up(align_up(at, 8) + 8, alignof(E)) + value.size() * sizeof(E);
    }
    static std::size_t write(std::byte* base, std::size_t at, const T& value) noexcept {
        at = raw_form<std::uint64_t>::write(base, at, value.size());
        at = align_up(at, alignof(E));
        const std::size_t size = value.size() * sizeof(E);
        if (size != 0) std::memcpy(base + at, value.data(), size);
        return at + size;
    }
    [[nodiscard]] static T read(payload_reader& from) {
        const std::size_t count = from.take_count();
        const std::byte* const bytes = from.take(count, sizeof(E), alignof(E));
        if constexpr (Extent != std::dynamic_extent) {
            if (count != Extent) from.fail("a span has another length");
        }
        if constexpr (std::is_same_v<E, bool>) {
            if (std::any_of(bytes, bytes + count, [](std::byte b) { return b > std::byte{1}; }))
                from.fail("a bool is neither 0 nor 1");
        }
        const auto* const first = reinterpret_cast<const E*>(bytes);
        if constexpr (std::is_trivially_copyable_v<T>) {
            return T(first, count);
        } else {
            return T(first, first + count);
        }
    }
};
template <plain_element C, class Traits, class A>
struct raw_form<std::basic_string<C, Traits, A>>
    : raw_sequence<std::basic_string<C, Traits, A>, C> {};
template <plain_element C, class Traits>
struct raw_form<std::basic_string_view<C, Traits>>
    : raw_sequence<std::basic_string_view<C, Traits>, C> {
    static constexpr bool in_place = true;
};
/// Arguments can be read in place, not changed: a span of const only.
template <plain_element E, std::size_t N>
struct raw_form<std::span<const E, N>> : raw_sequence<std::span<const E, N>, E, N> {
    static constexpr bool in_place = true;
};

template <class E, class A>
requires(plain_element<E> && !std::is_same_v<E, bool>) struct raw_form<std::vector<E, A>>
    : raw_sequence<std::vector<E, A>, E> {
};
template <class E, class A>
struct raw_form<std::vector<E, A>> {
    static constexpr bool carries = raw_form<E>::carries;
    static constexpr bool in_place = raw_form<E>::in_place;

    static std::size_t measure(std::size_t at, const std::vector<E, A>& value) noexcept {
        at = align_up(at, 8) + 8;
        for (const E& each : value) at = raw_form<E>::measure(at, each);
        return at;
    }
    static std::size_t write(std::byte* base, std::size_t at,
                             const std::vector<E, A>& value) noexcept {
        at = raw_form<std::uint64_t>::write(base, at, value.size());
        for (const E& each : value) at = raw_form<E>::write(base, at, each);
        return at;
    }
    [[nodiscard]] static std::vector<E, A> read(payload_reader& from) {
        const std::size_t count = from.take_count();
        std::vector<E, A> value;
        // Not more than the payload's own size on the strength of a length that may be wrong.
        value.reserve(std::min(count, from.left() / sizeof(E) + 1));
        for (std::size_t i = 0; i != count; ++i) value.push_back(raw_form<E>::read(from));
        return value;
    }
};

template <class T>
struct raw_form<std::optional<T>> {
    static constexpr bool carries = raw_form<T>::carries;
    static constexpr bool in_place = raw_form<T>::in_place;

    static std::size_t measure(std::size_t at, const std::optional<T>& value) noexcept {
        return value ? raw_form<T>::measure(at + 1, *value) : at + 1;
    }
    static std::size_t write(std::byte* base, std::size_t at,
                             const std::optional<T>& value) noexcept {
        at = raw_form<bool>::write(base, at, value.has_value());
        return value ? raw_form<T>::write(base, at, *value) : at;
    }
    [[nodiscard]] static std::optional<T> read(payload_reader& from) {
        if (!raw_form<bool>::read(from)) return std::nullopt;
        return std::optional<T>{std::in_place, raw_form<T>::read(from)};
    }
};

/// What std::apply takes apart, and its own constructor puts together from the parts in order.
template <class T, class... Ts>
struct raw_product {
    static constexpr bool carries = (raw_form<Ts>::carries && ...);
    static constexpr bool in_place = (raw_form<Ts>::in_place || ...);

    static std::size_t measure(std::size_t at, const T& value) noexcept {
        std::apply([&](const Ts&... each) { ((at = raw_form<Ts>::measure(at, each)), ...); },
                   value);
        return at;
    }
    static std::size_t write(std::byte* base, std::size_t at, const T& value) noexcept {
        std::apply([&](const Ts&... each) { ((at = raw_form<Ts>::write(base, at, each)), ...); },
                   value);
        return at;
    }
    [[nodiscard]] static T read(payload_reader& from) {
        return T{raw_form<Ts>::read(from)...};  // braces: left to right
    }
};
template <class First, class Second>
struct raw_form<std::pair<First, Second>> : raw_product<std::pair<First, Second>, First, Second> {};
template <class... Ts>
requires(sizeof...(Ts) != 0) struct raw_form<std::tuple<Ts...>>
    : raw_product<std::tuple<Ts...>, Ts...> {
};

template <class E, std::size_t N>
requires(!is_plain<E> && std::is_default_constructible_v<E>) struct raw_form<std::array<E, N>> {
    static constexpr bool carries = raw_form<E>::carries;
    static constexpr bool in_place = raw_form<E>::in_place;

    static std::size_t measure(std::size_t at, const std::array<E, N>& value) noexcept {
        for (const E& each : value) at = raw_form<E>::measure(at, each);
        return at;
    }
    static std::size_t write(std::byte* base, std::size_t at,
                             const std::array<E, N>& value) noexcept {
        for (const E& each : value) at = raw_form<E>::write(base, at, each);
        return at;
    }
    [[nodiscard]] static std::array<E, N> read(payload_reader& from) {
        std::array<E, N> value;
        for (E& each : value) each = raw_form<E>::read(from);
        return value;
    }
};

template <class... Ts>
struct raw_form<std::variant<Ts...>> {
    using variant = std::variant<Ts...>;
    static constexpr bool carries = (raw_form<Ts>::carries && ...);
    static constexpr bool in_place = (raw_form<Ts>::in_place || ...);

    static std::size_t measure(std::size_t at, const variant& value) noexcept {
        at = align_up(at, 8) + 8;
        visit(value, [&]<class T>(const T& held) { at = raw_form<T>::measure(at, held); });
        return at;
    }
    static std::size_t write(std::byte* base, std::size_t at, const variant& value) noexcept {
        at = raw_form<std::uint64_t>::write(base, at, value.index());
        visit(value, [&]<class T>(const T& held) { at = raw_form<T>::write(base, at, held); });
        return at;
    }
    [[nodiscard]] static variant read(payload_reader& from) {
        const auto index = raw_form<std::uint64_t>::read(from);
        if (index >= sizeof...(Ts)) from.fail("a variant has no such alternative");
        return read_at(from, index, std::index_sequence_for<Ts...>{});
    }

  private:
    // One without a value is written without one, and refused where it is read.
    template <class Visitor>
    static void visit(const variant& value, Visitor visitor) noexcept {
        if (!value.valueless_by_exception()) std::visit(visitor, value);
    }
    template <std::size_t I>
    static variant read_alternative(payload_reader& from) {
        return variant{std::in_place_index<I>,
                       raw_form<std::variant_alternative_t<I, variant>>::read(from)};
    }
    template <std::size_t... Is>
    static variant read_at(payload_reader& from, std::uint64_t index, std::index_sequence<Is...>) {
        static constexpr variant (*readers[])(payload_reader&) = {&read_alternative<Is>...};
        return readers[index](from);
    }
};

template <class T>
concept carried_by_raw = raw_form<T>::carries;
/// Sees the payload in place: for arguments, not for results, which must outlive their payload.
template <class T>
concept is_view = raw_form<T>::in_place || is_writable_span<T>;

}  // namespace prefork::detail

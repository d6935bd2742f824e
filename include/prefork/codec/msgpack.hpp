#pragma once

#include "prefork/codec.hpp"

// msgpack-cxx reports by exceptions alone. Without them codec::msgpack carries nothing.
#ifdef __cpp_exceptions

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <msgpack.hpp>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "prefork/detail/payload.hpp"

namespace prefork::codec {

/// Numbers, strings, classes with MSGPACK_DEFINE and a default constructor, types with is_msgpack,
/// and standard containers, optional, pair, tuple, unique_ptr and shared_ptr of these.
///
/// The format has 32-bit lengths and nests at most 1000 deep here: a longer string or container
/// throws msgpack::container_size_overflow at submit(), or as the task's error.
inline constexpr msgpack_t msgpack;

}  // namespace prefork::codec

namespace prefork::detail {

struct msgpack_sink {
    std::string bytes;
    void write(const char* from, std::size_t size) { bytes.append(from, size); }
};

}  // namespace prefork::detail

// msgpack-cxx writes 2.0 as the integer 2 to save bytes, and so -0.0 as 0. Not here: a task gets
// the number that it would get without a pool.
template <>
inline ::msgpack::packer<prefork::detail::msgpack_sink>&
msgpack::packer<prefork::detail::msgpack_sink>::pack_double(double value) {
    std::array<char, 1 + sizeof value> form{'\xcb'};
    _msgpack_store64(&form[1], std::bit_cast<std::uint64_t>(value));
    append_buffer(form.data(), form.size());
    return *this;
}
template <>
inline ::msgpack::packer<prefork::detail::msgpack_sink>&
msgpack::packer<prefork::detail::msgpack_sink>::pack_float(float value) {
    std::array<char, 1 + sizeof value> form{'\xca'};
    _msgpack_store32(&form[1], std::bit_cast<std::uint32_t>(value));
    append_buffer(form.data(), form.size());
    return *this;
}

namespace prefork::detail {

template <class C, class... As>
C declaring_class(void (C::*)(As...) const);

/// Has a MSGPACK_DEFINE of its own: one inherited would drop what the class adds.
template <class T>
concept msgpack_defined = std::is_class_v<T> && std::default_initializable<T> && requires {
    {
        declaring_class(&T::template msgpack_pack<::msgpack::packer<msgpack_sink>>)
        } -> std::same_as<T>;
};

template <class T>
inline constexpr bool msgpack_packs = codec::is_msgpack<T> || msgpack_defined<T> ||
                                      std::is_same_v<T, std::byte> ||
                                      (std::is_arithmetic_v<T> && !std::is_same_v<T, long double> &&
                                       !std::is_same_v<T, char8_t> &&
                                       !std::is_same_v<T, char16_t> &&
                                       !std::is_same_v<T, char32_t>);

template <class A>
inline constexpr bool msgpack_packs<std::basic_string<char, std::char_traits<char>, A>> = true;
template <class E, class A>
inline constexpr bool msgpack_packs<std::vector<E, A>> = msgpack_packs<E>;
template <class E, std::size_t N>
inline constexpr bool msgpack_packs<std::array<E, N>> = msgpack_packs<E>;
template <class E, class A>
inline constexpr bool msgpack_packs<std::deque<E, A>> = msgpack_packs<E>;
template <class E, class A>
inline constexpr bool msgpack_packs<std::list<E, A>> = msgpack_packs<E>;
template <class E, class... Rest>
inline constexpr bool msgpack_packs<std::set<E, Rest...>> = msgpack_packs<E>;
template <class E, class... Rest>
inline constexpr bool msgpack_packs<std::multiset<E, Rest...>> = msgpack_packs<E>;
template <class E, class... Rest>
inline constexpr bool msgpack_packs<std::unordered_set<E, Rest...>> = msgpack_packs<E>;
template <class E, class... Rest>
inline constexpr bool msgpack_packs<std::unordered_multiset<E, Rest...>> = msgpack_packs<E>;
template <class K, class V, class... Rest>
inline constexpr bool msgpack_packs<std::map<K, V, Rest...>> = msgpack_packs<K>&& msgpack_packs<V>;
template <class K, class V, class... Rest>
inline constexpr bool msgpack_packs<std::multimap<K, V, Rest...>> =
    msgpack_packs<K>&& msgpack_packs<V>;
template <class K, class V, class... Rest>
inline constexpr bool msgpack_packs<std::unordered_map<K, V, Rest...>> =
    msgpack_packs<K>&& msgpack_packs<V>;
template <class K, class V, class... Rest>
inline constexpr bool msgpack_packs<std::unordered_multimap<K, V, Rest...>> =
    msgpack_packs<K>&& msgpack_packs<V>;
template <class First, class Second>
inline constexpr bool msgpack_packs<std::pair<First, Second>> =
    msgpack_packs<First>&& msgpack_packs<Second>;
template <class... Ts>
inline constexpr bool msgpack_packs<std::tuple<Ts...>> = (msgpack_packs<Ts> && ...);

// Each of these is nil when empty, so that one inside another could not be told apart; and what a
// pointer to a base class refers to would arrive as that base.
template <class T>
inline constexpr bool msgpack_nil = false;
template <class T>
inline constexpr bool msgpack_nil<std::optional<T>> = true;
template <class T>
inline constexpr bool msgpack_nil<std::unique_ptr<T>> = true;
template <class T>
inline constexpr bool msgpack_nil<std::shared_ptr<T>> = true;
template <class T>
inline constexpr bool msgpack_inside_nil =
    msgpack_packs<T> && !msgpack_nil<T> && !std::is_polymorphic_v<T>;

template <class T>
inline constexpr bool msgpack_packs<std::optional<T>> = msgpack_inside_nil<T>;
template <class T>
inline constexpr bool msgpack_packs<std::unique_ptr<T>> = msgpack_inside_nil<T>;
template <class T>
inline constexpr bool msgpack_packs<std::shared_ptr<T>> = msgpack_inside_nil<T>;

/// Looks through the bytes before anything is made of them: msgpack-cxx allocates as many elements
/// as an array says it has before it looks for them, and its conversions recurse.
class msgpack_scan : public ::msgpack::null_visitor {
  public:
    bool start_array(std::uint32_t) noexcept { return enter(); }
    bool start_map(std::uint32_t) noexcept { return enter(); }
    bool end_array() noexcept { return leave(); }
    bool end_map() noexcept { return leave(); }

  private:
    bool enter() noexcept { return ++depth_ <= max_depth; }
    bool leave() noexcept { return depth_-- > 0; }

    static constexpr unsigned max_depth = 1000;
    unsigned depth_ = 0;
};

/// \throws decode_error, msgpack's own
[[nodiscard]] inline ::msgpack::object_handle unpack_msgpack(const std::string& bytes) {
    std::size_t end = 0;
    msgpack_scan scan;
    if (!::msgpack::parse(bytes.data(), bytes.size(), end, scan) || end != bytes.size())
        throw_decode_error("not one whole msgpack object, or one nested too deep", end,
                           bytes.size());
    // Strings stay where they are until they are converted.
    const auto in_place = [](::msgpack::type::object_type, std::size_t, void*) { return true; };
    return ::msgpack::unpack(bytes.data(), bytes.size(), in_place);
}

template <class T>
requires msgpack_packs<T>
struct msgpack_codec<T> {
    static constexpr bool carries = true;

    [[nodiscard]] static std::string pack(const T& value) {
        msgpack_sink sink;
        ::msgpack::pack(sink, value);
        return std::move(sink.bytes);
    }
    /// \throws decode_error
    [[nodiscard]] static T unpack(std::span<const std::byte> bytes) {
        // A copy, as a wild worker may still be writing there: what was checked is what is used.
        const std::string own(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        try {
            const ::msgpack::object_handle object = unpack_msgpack(own);
            return object->as<T>();
        } catch (const ::msgpack::type_error&) {
            throw_decode_error("a msgpack object of another type", 0, bytes.size());
        } catch (const ::msgpack::unpack_error& failure) {
            throw_decode_error(failure.what(), 0, bytes.size());
        }
    }
};

}  // namespace prefork::detail

#endif

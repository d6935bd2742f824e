#pragma once

#include "prefork/codec.hpp"

// Boost.Serialization reports by exceptions. Without them codec::boost_archive carries nothing.
#ifdef __cpp_exceptions

#include <array>
#include <boost/archive/archive_exception.hpp>
#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/array.hpp>
#include <boost/serialization/deque.hpp>
#include <boost/serialization/list.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/set.hpp>
#include <boost/serialization/shared_ptr.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/unique_ptr.hpp>
#include <boost/serialization/unordered_map.hpp>
#include <boost/serialization/unordered_set.hpp>
#include <boost/serialization/utility.hpp>
#include <boost/serialization/vector.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <span>
#include <streambuf>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "prefork/detail/payload.hpp"

namespace prefork::codec {

/// Classes with a Boost.Serialization serialize() (member, or free in their namespace or in
/// boost::serialization) and a default constructor; unique_ptr and shared_ptr of such classes, with
/// derived ones known by BOOST_CLASS_EXPORT; numbers, enums, strings, and standard containers and
/// pairs of all these. The program links boost_serialization.
///
/// What Boost throws while it saves arrives at submit(), or as the task's error.
inline constexpr boost_archive_t boost_archive;

}  // namespace prefork::codec

namespace prefork::detail {

namespace boost_probe {

// A class that inherits the name from both has an ambiguous one if T has it at all, private or not.
struct has_name {
    int serialize;
};
template <class T>
struct both : T, has_name {};
template <class T>
concept names_no_serialize = requires {
    &both<T>::serialize;
};

// Boost's own serialize() takes any type. This one is as good for every type, and so ambiguous with
// it, but for those that have a better one.
template <class Archive, class T>
void serialize(Archive&, T&, const unsigned int);
template <class T>
concept has_free_serialize = requires(::boost::archive::binary_oarchive& to, T& value,
                                      ::boost::serialization::version_type version) {
    serialize(to, value, version);
};

template <class T>
consteval bool has_member_serialize() {
    if constexpr (!std::is_class_v<T> || std::is_final_v<T>) {
        return requires(::boost::archive::binary_oarchive & to, T & value) {
            value.serialize(to, 0u);
        };
    } else {
        return !names_no_serialize<T>;
    }
}

}  // namespace boost_probe

/// Has a serialize(), by whatever way.
template <class T>
concept boost_class = std::is_class_v<T> &&
    (codec::is_boost_archive<T> || boost_probe::has_member_serialize<T>() ||
     boost_probe::has_free_serialize<T>);

template <class T>
inline constexpr bool boost_saves = std::is_arithmetic_v<T> || std::is_enum_v<T> ||
                                    (boost_class<T> && std::default_initializable<T>);

template <class C, class A>
inline constexpr bool boost_saves<std::basic_string<C, std::char_traits<C>, A>> =
    std::is_same_v<C, char> || std::is_same_v<C, wchar_t>;
template <class T>
inline constexpr bool boost_saves<std::unique_ptr<T>> = boost_class<T>;
template <class T>
inline constexpr bool boost_saves<std::shared_ptr<T>> = boost_class<T>;
template <class E, class A>
inline constexpr bool boost_saves<std::vector<E, A>> = boost_saves<E>;
template <class E, std::size_t N>
inline constexpr bool boost_saves<std::array<E, N>> = boost_saves<E>;
template <class E, class A>
inline constexpr bool boost_saves<std::deque<E, A>> = boost_saves<E>;
template <class E, class A>
inline constexpr bool boost_saves<std::list<E, A>> = boost_saves<E>;
template <class E, class... Rest>
inline constexpr bool boost_saves<std::set<E, Rest...>> = boost_saves<E>;
template <class E, class... Rest>
inline constexpr bool boost_saves<std::multiset<E, Rest...>> = boost_saves<E>;
template <class E, class... Rest>
inline constexpr bool boost_saves<std::unordered_set<E, Rest...>> = boost_saves<E>;
template <class E, class... Rest>
inline constexpr bool boost_saves<std::unordered_multiset<E, Rest...>> = boost_saves<E>;
template <class K, class V, class... Rest>
inline constexpr bool boost_saves<std::map<K, V, Rest...>> = boost_saves<K>&& boost_saves<V>;
template <class K, class V, class... Rest>
inline constexpr bool boost_saves<std::multimap<K, V, Rest...>> = boost_saves<K>&& boost_saves<V>;
template <class K, class V, class... Rest>
inline constexpr bool boost_saves<std::unordered_map<K, V, Rest...>> =
    boost_saves<K>&& boost_saves<V>;
template <class K, class V, class... Rest>
inline constexpr bool boost_saves<std::unordered_multimap<K, V, Rest...>> =
    boost_saves<K>&& boost_saves<V>;
template <class First, class Second>
inline constexpr bool boost_saves<std::pair<First, Second>> =
    boost_saves<First>&& boost_saves<Second>;

/// An archive's bytes at the end of a string.
class archive_sink : public std::streambuf {
  public:
    explicit archive_sink(std::string& bytes) noexcept : bytes_(bytes) {}

  protected:
    std::streamsize xsputn(const char* from, std::streamsize size) override {
        bytes_.append(from, static_cast<std::size_t>(size));
        return size;
    }
    int_type overflow(int_type c) override {
        if (!traits_type::eq_int_type(c, traits_type::eof()))
            bytes_.push_back(traits_type::to_char_type(c));
        return traits_type::not_eof(c);
    }

  private:
    std::string& bytes_;
};

/// An archive's bytes in memory.
class archive_source : public std::streambuf {
  public:
    explicit archive_source(std::string_view bytes) {
        auto* const first = const_cast<char*>(bytes.data());  // streambuf has no const form
        setg(first, first, first + bytes.size());
    }
    [[nodiscard]] bool at_end() const noexcept { return gptr() == egptr(); }
};

/// Boost's archives believe what they read: a wrong class number is an index into a vector, a wrong
/// object number makes two owners of one object. So a packed value begins with a checksum over its
/// type and its bytes, and no archive sees bytes that another one didn't write.
template <class T>
requires boost_saves<T>
struct boost_codec<T> {
    static constexpr bool carries = true;

    [[nodiscard]] static std::string pack(const T& value) {
        std::string bytes(sizeof(std::uint64_t), '\0');
        archive_sink sink{bytes};
        {
            ::boost::archive::binary_oarchive to{sink, flags};
            to << value;
        }
        const std::uint64_t sum = checksum(archived(bytes));
        std::memcpy(bytes.data(), &sum, sizeof sum);
        return bytes;
    }
    /// \throws decode_error
    [[nodiscard]] static T unpack(std::span<const std::byte> bytes) {
        // A copy, as a wild worker may still be writing there: what was checked is what is used.
        const std::string own(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        std::uint64_t sum = 0;
        if (own.size() < sizeof sum) throw_decode_error("no checksum", 0, own.size());
        std::memcpy(&sum, own.data(), sizeof sum);
        if (sum != checksum(archived(own)))
            throw_decode_error("the archive's checksum is wrong", 0, own.size());
        try {
            return load(archived(own));
        } catch (const ::boost::archive::archive_exception& failure) {
            throw_decode_error(failure.what(), 0, own.size());
        }
    }

  private:
    // Reader and writer are one program: no header that says which Boost wrote it.
    static constexpr unsigned flags = ::boost::archive::no_header | ::boost::archive::no_codecvt;

    static std::string_view archived(const std::string& bytes) noexcept {
        return std::string_view{bytes}.substr(sizeof(std::uint64_t));
    }
    static std::uint64_t checksum(std::string_view bytes) noexcept {
        return std::hash<std::string_view>{}(bytes) ^ typeid(T).hash_code();
    }
    static T load(std::string_view bytes) {
        archive_source source{bytes};
        ::boost::archive::binary_iarchive from{source, flags};
        T value{};
        from >> value;
        if (!source.at_end()) throw_decode_error("bytes are left over", 0, bytes.size());
        return value;
    }
};

}  // namespace prefork::detail

#endif

#include <bit>
#include <cmath>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <prefork/codec/msgpack.hpp>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "codec/payload_bytes.hpp"
#include "support/catch.hpp"

using namespace prefork;
using prefork::codec::automatic_t;
using prefork::codec::msgpack_t;
using prefork::test::damage;
using prefork::test::decodes;
using prefork::test::encoded;
using prefork::test::payload_bytes;
using prefork::test::there_and_back;

namespace {

struct page {
    int number = 0;
    std::string title;
    std::map<std::string, std::vector<double>> columns;
    bool operator==(const page&) const = default;
    MSGPACK_DEFINE(number, title, columns)
};

struct signed_page : page {
    std::string signature;
};

struct tree {
    int value = 0;
    std::vector<tree> branches;
    bool operator==(const tree&) const = default;
    MSGPACK_DEFINE(value, branches)
};

enum class level { low = 1, high = 2 };

struct undescribed {
    std::string text;
};

/// As a payload holds it: a length, then the msgpack object.
payload_bytes with_length(const std::string& object) { return encoded<codec::raw_t>(object); }

}  // namespace

MSGPACK_ADD_ENUM(level)
template <>
inline constexpr bool prefork::codec::is_msgpack<level> = true;

TEST_CASE("a class with MSGPACK_DEFINE arrives as it was, chosen or insisted on") {
    const page value{7, "sums", {{"a", {1.5, -0.0}}, {"empty", {}}}};
    CHECK(there_and_back<automatic_t>(value) == value);
    CHECK(there_and_back<msgpack_t>(value) == value);
    STATIC_REQUIRE(detail::carrier_of<automatic_t, page>() == detail::carrier::msgpack);
}

TEST_CASE("standard containers arrive, inside each other and around classes") {
    const std::map<int, std::string> names{{1, "one"}, {-2, std::string("\0zero", 5)}};
    CHECK(there_and_back<automatic_t>(names) == names);
    const std::unordered_map<std::string, std::vector<page>> books{
        {"x", {page{}, page{1, "", {}}}}};
    CHECK(there_and_back<automatic_t>(books) == books);
    const std::optional<page> maybe{page{3, "three", {}}};
    CHECK(there_and_back<automatic_t>(maybe) == maybe);
    CHECK(there_and_back<automatic_t>(std::optional<page>{}) == std::nullopt);
    const std::tuple<int, std::set<int>, std::pair<std::string, std::deque<bool>>> mixed{
        1, {3, 2}, {"x", {true, false}}};
    CHECK(there_and_back<automatic_t>(mixed) == mixed);
    const std::list<std::array<std::string, 2>> rows{{"a", "b"}, {"c", "d"}};
    CHECK(there_and_back<automatic_t>(rows) == rows);
}

TEST_CASE("what an insisted codec::msgpack is given arrives, numbers and strings included") {
    CHECK(there_and_back<msgpack_t>(std::numeric_limits<std::int64_t>::min()) ==
          std::numeric_limits<std::int64_t>::min());
    CHECK(there_and_back<msgpack_t>(~std::uint64_t{0}) == ~std::uint64_t{0});
    CHECK(there_and_back<msgpack_t>(std::string("\0\1", 2)) == std::string("\0\1", 2));
    CHECK(there_and_back<msgpack_t>(std::vector<bool>{true, false}) ==
          std::vector<bool>{true, false});
    CHECK(there_and_back<msgpack_t>(std::vector<std::byte>{std::byte{9}}) ==
          std::vector<std::byte>{std::byte{9}});
}

TEST_CASE("a NaN keeps its payload and zero its sign under codec::msgpack") {
    const auto nan = std::bit_cast<double>(std::uint64_t{0x7ff8'dead'beef'1234});
    CHECK(std::bit_cast<std::uint64_t>(there_and_back<msgpack_t>(nan)) == 0x7ff8'dead'beef'1234);
    CHECK(std::signbit(there_and_back<msgpack_t>(-0.0)));
    CHECK(std::signbit(there_and_back<msgpack_t>(-0.0f)));
    CHECK(there_and_back<msgpack_t>(0x1p64) == 0x1p64);
    CHECK(there_and_back<msgpack_t>(0.1f) == 0.1f);
}

TEST_CASE("an enum and its containers arrive once is_msgpack says so") {
    const std::map<std::string, level> levels{{"a", level::low}, {"b", level::high}};
    CHECK(there_and_back<automatic_t>(levels) == levels);
}

TEST_CASE("pointers that own arrive with what they own") {
    const auto held = there_and_back<automatic_t>(std::make_unique<page>(page{4, "four", {}}));
    REQUIRE(held != nullptr);
    CHECK(held->title == "four");
    CHECK(there_and_back<automatic_t>(std::unique_ptr<page>{}) == nullptr);
}

TEST_CASE("what msgpack would cut, or can't tell apart, is not carried") {
    STATIC_REQUIRE_FALSE(detail::carried_by_msgpack<signed_page>);
    STATIC_REQUIRE_FALSE(detail::carried_by_msgpack<undescribed>);
    STATIC_REQUIRE_FALSE(detail::carried_by_msgpack<std::map<int, undescribed>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_msgpack<std::optional<std::optional<page>>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_msgpack<std::map<int, const char*>>);
}

TEST_CASE("trivially copyable values stay raw beside codec::msgpack") {
    STATIC_REQUIRE(detail::carrier_of<automatic_t, double>() == detail::carrier::raw);
    STATIC_REQUIRE(detail::carrier_of<automatic_t, std::string>() == detail::carrier::raw);
    STATIC_REQUIRE(detail::carrier_of<automatic_t, std::vector<std::string>>() ==
                   detail::carrier::raw);
}

TEST_CASE("no truncation of a msgpack payload passes, and no changed byte does harm") {
    const page value{7, "sums", {{"a", {1.5, -0.0}}, {"empty", {}}}};
    CHECK(damage<automatic_t>(value) == 0);
    CHECK(damage<automatic_t>(tree{1, {tree{2, {}}, tree{3, {tree{4, {}}}}}}, 5) == 0);
    CHECK(damage<automatic_t>(std::map<int, std::string>{{1, "one"}, {2, "two"}}) == 0);
    CHECK(damage<msgpack_t>(std::vector<std::optional<int>>{1, {}, 3}, std::string{"x"}) == 0);
}

TEST_CASE(
    "an array or map that claims more elements than it has is refused before it is allocated") {
    const std::string array_of_4g{"\xdd\xff\xff\xff\xff", 5};
    const std::string map_of_4g{"\xdf\xff\xff\xff\xff", 5};
    const std::string text_of_4g{"\xdb\xff\xff\xff\xff", 5};
    CHECK_FALSE((decodes<msgpack_t, std::vector<int>>(with_length(array_of_4g).bytes())));
    CHECK_FALSE((decodes<msgpack_t, std::map<int, int>>(with_length(map_of_4g).bytes())));
    CHECK_FALSE((decodes<msgpack_t, std::string>(with_length(text_of_4g).bytes())));
    std::string nested;
    for (int i = 0; i != 900; ++i) nested += std::string{"\xdd\x7f\xff\xff\xff", 5};
    CHECK_FALSE((decodes<msgpack_t, tree>(with_length(nested).bytes())));
}

TEST_CASE("nesting is bounded, so that no payload can use up the stack") {
    tree deep;
    for (int i = 0; i != 400; ++i) deep = tree{i, {deep}};
    CHECK(there_and_back<automatic_t>(deep) == deep);
    std::string endless;
    for (int i = 0; i != 300'000; ++i) endless += "\x92\1\x91";  // a number and one branch
    CHECK_FALSE((decodes<msgpack_t, tree>(with_length(endless + "\x92\1\x90").bytes())));
}

TEST_CASE("another type, no object and two objects are refused") {
    CHECK_FALSE((decodes<msgpack_t, int>(encoded<msgpack_t>(std::string{"text"}).bytes())));
    CHECK_FALSE((decodes<msgpack_t, signed char>(encoded<msgpack_t>(1000).bytes())));
    CHECK_FALSE((decodes<msgpack_t, int>(with_length("").bytes())));
    CHECK_FALSE((decodes<msgpack_t, int>(with_length("\1\2").bytes())));
    CHECK_FALSE((decodes<msgpack_t, int>(with_length("\xc1").bytes())));
}

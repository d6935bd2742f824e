// The raw form: include/prefork/detail/payload_raw.hpp.
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "codec/payload_bytes.hpp"
#include "prefork/detail/payload.hpp"
#include "support/catch.hpp"

using namespace prefork;
using prefork::codec::automatic_t;
using prefork::codec::raw_t;
using prefork::test::encoded;
using prefork::test::payload_bytes;
using prefork::test::there_and_back;

namespace {

enum class colour : std::uint8_t { red = 3, blue = 200 };

struct point {
    double x;
    std::int16_t y;
    bool operator==(const point&) const = default;
};

struct no_default {
    explicit no_default(int v) : value(v) {}
    int value;
};

struct moves_only {
    explicit moves_only(int v) : value(v) {}
    moves_only(moves_only&&) = default;
    moves_only(const moves_only&) = delete;
    int value;
};

struct alignas(64) line {
    int value = 0;
};
struct alignas(32) packet {
    std::array<float, 8> lanes{};
};

/// A handle such as shared_array: a few numbers that stand for something bigger.
class handle {
  public:
    explicit handle(std::string name) : name_(std::move(name)) {}
    [[nodiscard]] const std::string& name() const { return name_; }

  private:
    std::string name_;
};

int twice(int n) { return 2 * n; }

bool lies_in(const void* at, const payload_bytes& payload) {
    const auto* const byte = static_cast<const std::byte*>(at);
    return byte >= payload.bytes().data() && byte <= payload.bytes().data() + payload.size();
}

bool is_aligned(const void* at, std::size_t to) {
    return std::bit_cast<std::uintptr_t>(at) % to == 0;
}

}  // namespace

template <>
struct prefork::detail::custom_codec<handle> {
    struct wire {
        std::uint32_t number;
    };
    static wire to_wire(const handle& from) {
        return {static_cast<std::uint32_t>(std::stoul(from.name()))};
    }
    static handle from_wire(wire from) { return handle{std::to_string(from.number)}; }
};

TEST_CASE("integers arrive with every bit, the extremes included") {
    CHECK(there_and_back<raw_t>(std::numeric_limits<std::int64_t>::min()) ==
          std::numeric_limits<std::int64_t>::min());
    CHECK(there_and_back<raw_t>(~std::uint64_t{0}) == ~std::uint64_t{0});
    CHECK(there_and_back<raw_t>(static_cast<signed char>(-1)) == -1);
    CHECK(there_and_back<raw_t>(true));
    CHECK_FALSE(there_and_back<raw_t>(false));
    CHECK(there_and_back<raw_t>(colour::blue) == colour::blue);
}

TEST_CASE("a NaN keeps its payload and zero its sign") {
    const auto nan = std::bit_cast<double>(std::uint64_t{0x7ff8'dead'beef'1234});
    CHECK(std::bit_cast<std::uint64_t>(there_and_back<automatic_t>(nan)) == 0x7ff8'dead'beef'1234);
    CHECK(std::bit_cast<std::uint64_t>(there_and_back<automatic_t>(-0.0)) == 0x8000'0000'0000'0000);
}

TEST_CASE("structs need neither a default constructor nor to be copyable") {
    CHECK(there_and_back<raw_t>(point{1.5, -7}) == point{1.5, -7});
    CHECK(there_and_back<raw_t>(no_default{9}).value == 9);
    CHECK(there_and_back<raw_t>(moves_only{8}).value == 8);
    const line far{5};
    const line back = there_and_back<raw_t>(far);
    CHECK(back.value == 5);
    CHECK(is_aligned(&back, 64));
}

TEST_CASE("code has the same address everywhere, so pointers to it arrive") {
    CHECK(there_and_back<raw_t>(&twice)(21) == 42);
    CHECK((point{2.5, 0}.*there_and_back<raw_t>(&point::x)) == 2.5);
}

TEST_CASE("strings keep embedded zeros, and an empty one stays empty") {
    const std::string zeros("a\0b\0", 4);
    CHECK(there_and_back<raw_t>(zeros) == zeros);
    CHECK(there_and_back<raw_t>(std::string{}).empty());
    CHECK(there_and_back<raw_t>(std::u16string{u"\u00e4\u20ac"}) == u"\u00e4\u20ac");
    const std::string long_one(100'000, 'x');
    CHECK(there_and_back<raw_t>(long_one) == long_one);
}

TEST_CASE("a string_view shows the payload's own bytes") {
    const payload_bytes bytes = encoded<raw_t>(std::string_view{"in place"}, 'c');
    const auto [text, c] = detail::decode<raw_t, std::string_view, char>(bytes.bytes());
    CHECK(text == "in place");
    CHECK(c == 'c');
    CHECK(lies_in(text.data(), bytes));
}

TEST_CASE("a span shows the payload's own elements at their alignment") {
    const std::vector<packet> packets(3, packet{{1, 2, 3, 4, 5, 6, 7, 8}});
    const std::array<double, 2> fixed{0.5, -0.0};
    const payload_bytes bytes = encoded<raw_t>('c', std::span<const packet>{packets}, true,
                                               std::span<const double, 2>{fixed});
    const auto [c, seen, flag, two] =
        detail::decode<raw_t, char, std::span<const packet>, bool, std::span<const double, 2>>(
            bytes.bytes());
    REQUIRE(seen.size() == 3);
    CHECK(lies_in(seen.data(), bytes));
    CHECK(is_aligned(seen.data(), alignof(packet)));
    CHECK(seen[2].lanes[7] == 8);
    CHECK(lies_in(two.data(), bytes));
    CHECK(two[0] == 0.5);
}

TEST_CASE("a span of fixed extent refuses another length") {
    const std::array<int, 3> three{1, 2, 3};
    const payload_bytes bytes = encoded<raw_t>(std::span<const int>{three});
    CHECK((test::decodes<raw_t, std::span<const int, 3>>(bytes.bytes())));
    CHECK_FALSE((test::decodes<raw_t, std::span<const int, 2>>(bytes.bytes())));
}

TEST_CASE("vectors of values arrive by one copy, and vectors of vectors one by one") {
    CHECK(there_and_back<raw_t>(std::vector<int>{1, -2, 3}) == std::vector<int>{1, -2, 3});
    const std::vector<bool> bits{true, false, true};
    CHECK(there_and_back<raw_t>(bits) == bits);
    const std::vector<std::vector<double>> rows{{1, 2}, {}, {3}};
    CHECK(there_and_back<raw_t>(rows) == rows);
    const std::vector<std::string> words{"", "two", std::string(1000, '3')};
    CHECK(there_and_back<raw_t>(words) == words);
    std::vector<line> lines(2);
    lines[1].value = 4;
    CHECK(there_and_back<raw_t>(lines)[1].value == 4);
}

TEST_CASE("views inside other types show the payload too") {
    const std::vector<std::string_view> words{"one", "two"};
    const payload_bytes bytes = encoded<raw_t>(words);
    const auto [seen] = detail::decode<raw_t, std::vector<std::string_view>>(bytes.bytes());
    CHECK(seen == words);
    CHECK(lies_in(seen[1].data(), bytes));
    STATIC_REQUIRE(detail::is_view<std::optional<std::pair<int, std::string_view>>>);
    STATIC_REQUIRE_FALSE(detail::is_view<std::vector<std::string>>);
}

TEST_CASE("optionals, pairs, tuples, arrays and variants arrive with what they hold") {
    CHECK(there_and_back<raw_t>(std::optional<int>{}) == std::nullopt);
    CHECK(
        there_and_back<raw_t>(std::optional<std::optional<int>>{std::optional<int>{}}).has_value());
    using nested = std::tuple<int, std::pair<std::string, bool>, std::optional<std::string>>;
    const nested value{1, {"two", true}, "three"};
    CHECK(there_and_back<raw_t>(value) == value);
    const std::array<std::string, 2> names{"a", "b"};
    CHECK(there_and_back<raw_t>(names) == names);
    using either = std::variant<int, std::string, std::monostate>;
    CHECK(there_and_back<raw_t>(either{7}) == either{7});
    CHECK(there_and_back<raw_t>(either{"text"}) == either{"text"});
    CHECK(there_and_back<raw_t>(either{std::monostate{}}) == either{std::monostate{}});
}

TEST_CASE("a type with a custom form travels as that, under every codec") {
    CHECK(there_and_back<automatic_t>(handle{"17"}).name() == "17");
    CHECK(there_and_back<codec::msgpack_t>(handle{"18"}).name() == "18");
    const std::vector<handle> two{handle{"1"}, handle{"2"}};
    CHECK(there_and_back<raw_t>(two)[1].name() == "2");
    STATIC_REQUIRE(sizeof(detail::custom_codec<handle>::wire) == 4);
    CHECK(encoded<raw_t>(handle{"1"}).size() == 4);
}

TEST_CASE("views keep their place under a codec that is insisted on") {
    const payload_bytes bytes = encoded<codec::boost_archive_t>(std::string_view{"in place"});
    const auto [text] = detail::decode<codec::boost_archive_t, std::string_view>(bytes.bytes());
    CHECK(lies_in(text.data(), bytes));
}

TEST_CASE("what only hides a pointer is not carried") {
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<int*>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::reference_wrapper<int>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::vector<const char*>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::array<int*, 2>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::optional<int*>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::span<int>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::unique_ptr<int>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_raw<std::map<int, int>>);
}

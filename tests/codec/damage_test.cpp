// Payloads that nobody wrote on purpose: run these with a sanitizer, too.
#include <sys/mman.h>

#include <cstdint>
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
using prefork::codec::raw_t;
using prefork::test::damage;
using prefork::test::decodes;
using prefork::test::encoded;
using prefork::test::payload_bytes;

namespace {

constexpr std::uint64_t five_gib = 5ull << 30;

/// Address space that costs nothing until it is touched.
class sparse {
  public:
    explicit sparse(std::size_t size) : size_(size) {
        void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at != MAP_FAILED) first_ = static_cast<std::byte*>(at);
    }
    sparse(const sparse&) = delete;
    sparse& operator=(const sparse&) = delete;
    ~sparse() {
        if (first_ != nullptr) ::munmap(first_, size_);
    }
    [[nodiscard]] std::byte* data() const { return first_; }

  private:
    std::size_t size_;
    std::byte* first_ = nullptr;
};

}  // namespace

TEST_CASE("no truncation of a raw payload passes, and no changed byte does harm") {
    CHECK(damage<raw_t>(std::uint8_t{1}) == 0);
    CHECK(damage<raw_t>(1, 2.5, 'c', true) == 0);
    CHECK(damage<raw_t>(std::string{"some text"}, std::vector<int>{1, 2, 3}) == 0);
    CHECK(damage<raw_t>(std::string_view{"view"}, std::span<const double>{}) == 0);
    CHECK(damage<raw_t>(std::vector<std::vector<std::string>>{{"a", "bc"}, {}, {"def"}}) == 0);
    CHECK(damage<raw_t>(std::optional<std::string>{"x"}, std::vector<bool>{true, false}) == 0);
    using either = std::variant<int, std::string, std::vector<std::uint16_t>>;
    CHECK(damage<raw_t>(std::vector<either>{1, "two", std::vector<std::uint16_t>{3}}) == 0);
}

TEST_CASE("no arguments are an empty payload, and nothing else is") {
    CHECK(encoded<raw_t>().size() == 0);
    CHECK(decodes<raw_t>({}));
    CHECK_FALSE(decodes<raw_t>(payload_bytes{1}.bytes()));
    CHECK_FALSE((decodes<raw_t, char>({})));
    CHECK(encoded<raw_t>('c').size() == 1);
}

TEST_CASE("lengths near two to the power of 64 are refused before anything is allocated") {
    payload_bytes bytes = encoded<raw_t>(std::string{"12345678"});
    for (std::uint64_t below = 1; below != 64; ++below) {
        bytes.put_count(0, 0 - below);
        CHECK_FALSE((decodes<raw_t, std::string>(bytes.bytes())));
        CHECK_FALSE((decodes<raw_t, std::string_view>(bytes.bytes())));
        CHECK_FALSE((decodes<raw_t, std::vector<double>>(bytes.bytes())));
        CHECK_FALSE((decodes<raw_t, std::vector<std::string>>(bytes.bytes())));
        CHECK_FALSE((decodes<raw_t, std::vector<bool>>(bytes.bytes())));
    }
    for (int bit = 4; bit != 64; ++bit) {
        bytes.put_count(0, std::uint64_t{1} << bit);
        CHECK_FALSE((decodes<raw_t, std::string>(bytes.bytes())));
        CHECK_FALSE((decodes<raw_t, std::vector<std::string>>(bytes.bytes())));
    }
}

TEST_CASE("a bool, an optional's flag and a variant's index are believed only if they exist") {
    payload_bytes bytes{8};
    bytes.data()[0] = std::byte{2};
    const auto one = bytes.bytes().first(1);
    CHECK_FALSE((decodes<raw_t, bool>(one)));
    CHECK_FALSE((decodes<raw_t, std::optional<char>>(bytes.bytes().first(2))));
    CHECK_FALSE((decodes<raw_t, std::array<bool, 1>>(one)));
    CHECK_FALSE((decodes<raw_t, std::variant<std::monostate, int>>(bytes.bytes())));
    payload_bytes bools = encoded<raw_t>(std::string{"\2"});
    CHECK_FALSE((decodes<raw_t, std::span<const bool>>(bools.bytes())));
}

TEST_CASE("a length of more than 32 bits is neither cut where it is written nor where it is read") {
    const sparse memory{five_gib + 4096};
    REQUIRE(memory.data() != nullptr);
    const std::string_view text{reinterpret_cast<const char*>(memory.data()), five_gib};
    const detail::encoder<raw_t, std::string_view, char> encoder{text, 'c'};
    CHECK(encoder.size() == five_gib + 9);

    const std::uint64_t count = five_gib;
    std::memcpy(memory.data(), &count, sizeof count);
    memory.data()[five_gib + 8] = std::byte{'c'};
    const auto [seen, c] =
        detail::decode<raw_t, std::string_view, char>({memory.data(), five_gib + 9});
    CHECK(seen.size() == five_gib);
    CHECK(c == 'c');
}

#include "codec/label_prefix.hpp"

#include <array>

#include "support/catch.hpp"

using prefork::detail::label_prefix;

TEST_CASE("a label comes out as it went in, and the arguments behind it are aligned") {
    for (const std::string& label : {std::string{}, std::string{"x"}, std::string(200, 'y')}) {
        std::array<std::byte, 256> bytes{};
        const label_prefix written{label};
        written.write(bytes.data());
        const label_prefix read{std::span<const std::byte>{bytes}};
        CHECK(read.label() == label);
        CHECK(read.size() == written.size());
        CHECK(read.size() % prefork::detail::payload_alignment == 0);
    }
}

TEST_CASE("a label that claims more than there is ends with it") {
    std::array<std::byte, 16> bytes{};
    const std::uint32_t size = 0xffff'ffff;
    std::memcpy(bytes.data(), &size, sizeof size);
    const label_prefix read{std::span<const std::byte>{bytes}};
    CHECK(read.label().size() == 12);
    CHECK(read.size() == 16);
    const label_prefix none{std::span<const std::byte>{bytes}.first(3)};
    CHECK(none.label().empty());
    CHECK(none.size() <= 3);
}

#include "prefork/detail/payload_reader.hpp"

#include <array>
#include <limits>

#include "codec/payload_bytes.hpp"
#include "support/catch.hpp"

using namespace prefork;
using prefork::test::payload_bytes;

TEST_CASE("a read that ends where the payload ends succeeds, one byte further fails") {
    const payload_bytes bytes{8};
    detail::payload_reader exact{bytes.bytes()};
    CHECK(exact.take(8, 1, 1) == bytes.bytes().data());
    CHECK(exact.left() == 0);
    detail::payload_reader beyond{bytes.bytes()};
    CHECK_THROWS_AS(beyond.take(9, 1, 1), decode_error);
}

TEST_CASE("each value is aligned from the payload's beginning, not from where it is") {
    const payload_bytes bytes{64};
    detail::payload_reader from{bytes.bytes()};
    CHECK(from.take(1, 1, 1) == bytes.bytes().data());
    CHECK(from.take(1, 8, 8) == bytes.bytes().data() + 8);
    CHECK(from.take(1, 32, 32) == bytes.bytes().data() + 32);
}

TEST_CASE("alignment that leads beyond the end fails, even for no elements") {
    const payload_bytes bytes{9};
    detail::payload_reader from{bytes.bytes()};
    static_cast<void>(from.take(9, 1, 1));
    CHECK_THROWS_AS(from.take(0, 16, 16), decode_error);
}

TEST_CASE("a count whose product with the size overflows 64 bits is beyond the end") {
    constexpr auto most = std::numeric_limits<std::uint64_t>::max();
    const payload_bytes bytes{64};
    for (const std::uint64_t count :
         {most, most - 7, most / 8 + 1, most / 2 + 1, std::uint64_t{9}}) {
        CAPTURE(count);
        detail::payload_reader from{bytes.bytes()};
        CHECK_THROWS_AS(from.take(count, 8, 8), decode_error);
    }
}

TEST_CASE("a stored length larger than what follows it fails when it is read") {
    payload_bytes bytes{24};
    for (const std::uint64_t count : {std::uint64_t{17}, ~std::uint64_t{0}}) {
        bytes.put_count(0, count);
        detail::payload_reader from{bytes.bytes()};
        CHECK_THROWS_AS(from.take_count(), decode_error);
    }
    bytes.put_count(0, 16);
    detail::payload_reader from{bytes.bytes()};
    CHECK(from.take_count() == 16);
}

TEST_CASE("bytes that nobody read fail at the end, and the message says where") {
    const payload_bytes bytes{3};
    detail::payload_reader from{bytes.bytes()};
    static_cast<void>(from.take(2, 1, 1));
    REQUIRE_THROWS_WITH(from.finish(),
                        "payload of 3 bytes can't be decoded: bytes are left over (at byte 2)");
    static_cast<void>(from.take(1, 1, 1));
    from.finish();
}

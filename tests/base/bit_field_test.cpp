#include "base/bit_field.hpp"

#include <cstdint>

#include "support/catch.hpp"

using prefork::base::bit_field;

namespace {

using low = bit_field<0, 4>;
using middle = bit_field<4, 12>;
using high = bit_field<16, 48>;
using whole = bit_field<0, 64>;
using top = bit_field<63, 1>;

constexpr std::uint64_t ones = ~std::uint64_t{0};

}  // namespace

TEST_CASE("fields side by side share no bit and leave none out") {
    CHECK((low::mask & middle::mask) == 0);
    CHECK((middle::mask & high::mask) == 0);
    CHECK((low::mask | middle::mask | high::mask) == ones);
    CHECK(low::end == middle::low);
    CHECK(middle::end == high::low);
}

TEST_CASE("a field gives back what was put into it") {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, middle::max}) {
        CHECK(middle::get(middle::put(value)) == value);
        CHECK(middle::get(middle::set(ones, value)) == value);
        CHECK(middle::get(middle::set(0, value)) == value);
    }
    CHECK(whole::get(whole::put(ones)) == ones);
    CHECK(whole::max == ones);
    CHECK(top::put(1) == std::uint64_t{1} << 63);
}

TEST_CASE("setting a field leaves the others alone") {
    const std::uint64_t word = low::put(9) | middle::put(0xabc) | high::put(0x1234'5678'9abc);
    const std::uint64_t changed = middle::set(word, 0x123);
    CHECK(low::get(changed) == 9);
    CHECK(middle::get(changed) == 0x123);
    CHECK(high::get(changed) == 0x1234'5678'9abc);
}

TEST_CASE("a value too large for its field is cut off, and does not spill into the next") {
    CHECK(low::put(0x1f) == 0xf);
    CHECK(high::get(middle::set(0, ones)) == 0);
    CHECK(low::get(middle::set(0, ones)) == 0);
    CHECK(middle::get(middle::put(middle::max + 1)) == 0);
}

#include "memory/offset.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <span>

#include "support/catch.hpp"

using prefork::memory::offset;

namespace {

constexpr std::uint64_t huge = ~std::uint64_t{0};

// Address space that nobody touches: only addresses are compared.
std::span<std::byte> part_of(std::uint64_t bytes) {
    static auto* const space =
        static_cast<std::byte*>(::mmap(nullptr, std::size_t{16} << 30, PROT_NONE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    return {space, static_cast<std::size_t>(bytes)};
}

}  // namespace

TEST_CASE("bytes inside of the part are given where the part says they are") {
    const auto part = part_of(1024);
    const auto bytes = offset{64, 100}.within(part);
    REQUIRE(bytes.has_value());
    CHECK(bytes->data() == part.data() + 64);
    CHECK(bytes->size() == 100);
}

TEST_CASE("the last byte of a part is inside, the one after it is not") {
    CHECK(offset{0, 1024}.within(part_of(1024)).has_value());
    CHECK(offset{1023, 1}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{1023, 2}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{1024, 1}.within(part_of(1024)).has_value());
    CHECK(offset{1024, 0}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{1025, 0}.within(part_of(1024)).has_value());
}

TEST_CASE("sums beyond 64 bits don't come round into the part") {
    CHECK_FALSE(offset{64, huge}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{64, huge - 63}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{huge, 64}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{huge - 63, 64}.within(part_of(1024)).has_value());
    CHECK_FALSE(offset{huge, huge}.within(part_of(1024)).has_value());
}

TEST_CASE("bytes that begin between two units of alignment are not given") {
    CHECK(offset{128, 8}.within(part_of(1024), 64).has_value());
    CHECK_FALSE(offset{120, 8}.within(part_of(1024), 64).has_value());
    CHECK_FALSE(offset{1, 8}.within(part_of(1024), 64).has_value());
}

TEST_CASE("offsets and sizes above 4 GiB keep all their bits") {
    const std::uint64_t gib = std::uint64_t{1} << 30;
    const auto part = part_of(12 * gib);
    const auto bytes = offset{5 * gib, 6 * gib}.within(part, 64);
    REQUIRE(bytes.has_value());
    CHECK(static_cast<std::uint64_t>(bytes->data() - part.data()) == 5 * gib);
    CHECK(bytes->size() == 6 * gib);
    CHECK_FALSE(offset{7 * gib, 6 * gib}.within(part, 64).has_value());
}

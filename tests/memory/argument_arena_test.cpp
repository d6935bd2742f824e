#include "memory/argument_arena.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fail_point.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

using prefork::base::fail_point;
using prefork::memory::argument_arena;
using prefork::memory::block;
using prefork::memory::budget;
using prefork::memory::region;

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

/// A region of one seat and a budget of which word 0 is the seat's and word 1 the host's.
struct host {
    explicit host(std::uint64_t limit = 8 * mib)
        : shared({1000, 1000, 1, 64 * mib, 2 * mib}), allowed(sums, limit) {}

    region shared;
    std::array<budget::word, 2> sums{};
    budget allowed;
    argument_arena arguments{shared, allowed, 1};
};

}  // namespace

TEST_CASE(
    "a block lies among the arguments, and writing to it takes no page that was not secured") {
    const prefork::test::leaks guard;
    host with;
    const std::uint64_t before = with.shared.resident_bytes();
    const block made = with.arguments.allocate(3 * mib);
    REQUIRE(bool(made));
    const auto part = with.shared.arguments();
    CHECK(made.data >= part.data());
    CHECK(made.data + made.size <= part.data() + part.size());
    CHECK(with.shared.resident_bytes() == before + 3 * mib);
    std::memset(made.data, 1, made.size);
    CHECK(with.shared.resident_bytes() == before + 3 * mib);
}

TEST_CASE("arguments stay within the budget, of which workers hold a part") {
    host with;
    REQUIRE(with.allowed.take(0, 5 * mib));
    const block made = with.arguments.allocate(3 * mib);
    CHECK(bool(made));
    CHECK(with.allowed.taken() == 8 * mib);
    CHECK_FALSE(bool(with.arguments.allocate(mib)));
    CHECK(with.arguments.error() == EDQUOT);
    with.allowed.give_back(0, mib);
    CHECK(bool(with.arguments.allocate(mib)));
}

TEST_CASE("a kernel without memory is an outcome, and costs no budget") {
    host with;
    for (const int error : {ENOSPC, ENOMEM}) {
        fail_point::arm("memory.fallocate", fail_point::action::fail, 1, 1000, error);
        CHECK_FALSE(bool(with.arguments.allocate(mib)));
        CHECK(with.arguments.error() == error);
        CHECK_FALSE(bool(with.arguments.allocate(1000)));
        CHECK(with.arguments.error() == error);
        fail_point::disarm();
    }
    CHECK(with.allowed.taken() == 0);
    CHECK(with.arguments.used_blocks() == 0);
    CHECK(bool(with.arguments.allocate(mib)));
}

TEST_CASE(
    "released arguments keep their pages until they are trimmed; then memory and budget are back") {
    host with;
    const std::uint64_t before = with.shared.resident_bytes();
    const block first = with.arguments.allocate(2 * mib);
    const block second = with.arguments.allocate(4 * mib);
    with.arguments.release(first);
    with.arguments.release(second);
    CHECK(with.arguments.secured_bytes() == 6 * mib);
    with.arguments.trim(mib);
    CHECK(with.arguments.secured_bytes() == mib);
    CHECK(with.allowed.taken() == mib);
    CHECK(with.shared.resident_bytes() == before + mib);
    with.arguments.trim(0);
    CHECK(with.allowed.taken() == 0);
    CHECK(with.shared.resident_bytes() == before);
}

#include "memory/region.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <system_error>

#include "base/fail_point.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"

using prefork::base::fail_point;
using prefork::memory::region;
using prefork::memory::region_request;
using prefork::test::child_end;
using prefork::test::in_child;

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr std::uint64_t gib = std::uint64_t{1} << 30;
constexpr child_end done{0, 0};

region_request small() { return {1000, 5000, 3, 16 * mib, 12 * mib}; }

void write_to(std::span<std::byte> bytes) {
    *const_cast<volatile std::byte*>(bytes.data()) = std::byte{1};
}

struct armed {
    armed(const char* place, int error) {
        fail_point::arm(place, fail_point::action::fail, 1, 1000, error);
    }
    ~armed() { fail_point::disarm(); }
};

// Limits what this process may have beside what it has.
void limit_address_space(std::uint64_t more) {
    std::uint64_t pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages;
    const rlim_t now = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const rlimit limit{now + more, now + more};
    ::setrlimit(RLIMIT_AS, &limit);
}

std::string what_is_thrown(const region_request& request) {
    try {
        const region made{request};
    } catch (const std::system_error& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("each part begins on a huge page, holds what was asked for, and ends before the next") {
    const prefork::test::leaks guard;
    const region shared{small()};
    const std::byte* end = shared.base();
    const auto follows = [&](std::span<std::byte> part, std::uint64_t asked) {
        CHECK(part.data() == end);
        CHECK(part.size() >= asked);
        CHECK(shared.offset_of(part.data()) % (2 * mib) == 0);
        end = part.data() + part.size();
    };
    follows(shared.control(), 1000);
    follows(shared.ring(), 5000);
    follows(shared.arguments(), 16 * mib);
    for (unsigned seat = 0; seat < 3; ++seat) {
        follows(shared.results(seat), 4 * mib);
        CHECK(shared.seat_of(shared.results(seat).data()) == seat);
        CHECK(shared.seat_of(end - 1) == seat);
    }
}

TEST_CASE("the file can't be shrunk, grown, or sealed any further") {
    const region shared{small()};
    const auto refused = [](int result) { return result == -1 && errno == EPERM; };
    CHECK(refused(::ftruncate(shared.fd(), 0)));
    CHECK(refused(::ftruncate(shared.fd(), static_cast<off_t>(gib))));
    CHECK(refused(::fcntl(shared.fd(), F_ADD_SEALS, F_SEAL_WRITE)));
}

TEST_CASE("pages cost nothing until they are secured, and nothing after they were released") {
    region shared{small()};
    const std::uint64_t before = shared.resident_bytes();
    const auto bytes = shared.arguments().subspan(mib, 8 * mib);
    CHECK(shared.secure(bytes) == 0);
    CHECK(shared.resident_bytes() == before + 8 * mib);
    std::memset(bytes.data(), 7, bytes.size());
    CHECK(shared.resident_bytes() == before + 8 * mib);
    shared.release(bytes);
    CHECK(shared.resident_bytes() == before);
    CHECK(bytes[0] == std::byte{0});
}

TEST_CASE("releasing spares the pages that the bytes only touch") {
    region shared{small()};
    const auto bytes = shared.arguments().first(mib);
    CHECK(shared.secure(bytes) == 0);
    std::memset(bytes.data(), 7, bytes.size());
    shared.release(bytes.subspan(1, mib - 2));
    CHECK(bytes[0] == std::byte{7});
    CHECK(bytes[mib - 1] == std::byte{7});
    CHECK(bytes[mib / 2] == std::byte{0});
    shared.release(bytes.subspan(1, 10));
    CHECK(bytes[1] == std::byte{7});
}

TEST_CASE("no memory for a block is an answer, in the host") {
    region shared{small()};
    for (const int error : {ENOSPC, ENOMEM}) {
        const armed refusal{"memory.fallocate", error};
        CHECK(shared.secure(shared.arguments().first(mib)) == error);
    }
    CHECK(shared.secure(shared.arguments().first(mib)) == 0);
}

TEST_CASE("a region that has no memory for its ring says so and leaves nothing behind") {
    const prefork::test::leaks guard;
    const armed refusal{"memory.fallocate", ENOSPC};
    REQUIRE_THROWS_AS(region{small()}, std::system_error);
    CHECK(what_is_thrown(small()) ==
          "fallocate of 4194304 bytes for the ring: No space left on device");
}

TEST_CASE("where less address space is allowed, the parts are smaller, and as good") {
    const auto body = [] {
        limit_address_space(gib);
        region shared{{.control_bytes = 1, .ring_bytes = 1, .seats = 4}};
        const bool fits = shared.arguments().size() + 4 * shared.results(0).size() < gib;
        const bool all_tried = shared.arguments().size() >= 256 * mib;
        write_to(shared.results(3));
        return fits && all_tried && shared.secure(shared.arguments().last(mib)) == 0 ? 0 : 1;
    };
    CHECK(in_child(body) == done);
}

TEST_CASE("a limit on the size of files makes the parts smaller, and raises no signal") {
    const auto body = [] {
        const rlimit limit{gib, gib};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        region shared{{.control_bytes = 1, .ring_bytes = 1, .seats = 4}};
        const bool all_tried = shared.arguments().size() >= 256 * mib;
        return all_tried && shared.secure(shared.arguments().last(mib)) == 0 ? 0 : 1;
    };
    CHECK(in_child(body) == done);
}

TEST_CASE("when not even the smallest parts fit, the error names the call and the size") {
    // Control, ring, arguments and four seats at 2 MiB each.
    const region_request request{.control_bytes = 1, .ring_bytes = 1, .seats = 4};
    const auto too_large_a_file = [&] {
        const rlimit limit{14 * mib - 1, 14 * mib - 1};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        const prefork::test::leaks guard;
        return what_is_thrown(request) ==
                           "ftruncate (RLIMIT_FSIZE) of 14680064 bytes for the "
                           "shared memory: File too large" &&
                       guard.left().empty()
                   ? 0
                   : 1;
    };
    CHECK(in_child(too_large_a_file) == done);
    const auto too_much_address_space = [&] {
        limit_address_space(13 * mib);
        return what_is_thrown(request) ==
                       "mmap of 14680064 bytes for the shared memory: Cannot allocate memory"
                   ? 0
                   : 1;
    };
    CHECK(in_child(too_much_address_space) == done);
}

TEST_CASE("places beyond 4 GiB are places of their own, and cost what is written there") {
    region shared{{.control_bytes = 1, .ring_bytes = 1, .seats = 8}};
    REQUIRE(shared.arguments().size() == 256 * gib);
    REQUIRE(shared.results(0).size() == 64 * gib);
    const std::uint64_t before = shared.resident_bytes();
    const auto low = shared.arguments().subspan(1 * gib, 8);
    const auto high = shared.arguments().subspan(5 * gib, 8);
    const auto last = shared.results(7).last(8);
    for (const auto bytes : {low, high, last}) CHECK(shared.secure(bytes) == 0);
    std::memset(low.data(), 1, 8);
    std::memset(high.data(), 5, 8);
    std::memset(last.data(), 7, 8);
    CHECK(low[0] == std::byte{1});
    CHECK(high[0] == std::byte{5});
    CHECK(shared.seat_of(last.data()) == 7);
    CHECK(shared.resident_bytes() - before == 3 * static_cast<unsigned>(::sysconf(_SC_PAGESIZE)));
}

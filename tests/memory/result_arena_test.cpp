#include "memory/result_arena.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <random>
#include <vector>

#include "base/fail_point.hpp"
#include "memory/region.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"

using prefork::base::fail_point;
using prefork::memory::budget;
using prefork::memory::checked_result;
using prefork::memory::region;
using prefork::memory::release_result;
using prefork::memory::result_arena;
using prefork::memory::result_header;

namespace {

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = kib * kib;
constexpr std::uint64_t huge = ~std::uint64_t{0};

/// The arena of seat 0 in the process that could be its host too.
struct worker {
    explicit worker(std::uint64_t limit = 8 * mib)
        : shared({1000, 1000, 2, 2 * mib, 128 * mib}), allowed(sums, limit) {}

    region shared;
    std::array<budget::word, 2> sums{};
    budget allowed;
    result_arena results{shared.results(0), allowed, 0};

    [[nodiscard]] std::uint64_t offset_of(const std::byte* payload) const {
        return shared.offset_of(payload) - shared.offset_of(shared.results(0).data());
    }
    [[nodiscard]] auto checked(std::uint64_t offset, std::uint64_t size) const {
        return checked_result(shared.results(0), offset, size);
    }
};

}  // namespace

TEST_CASE("a payload is aligned, lies in the worker's own part, and is found there by the host") {
    const prefork::test::leaks guard;
    worker with;
    for (const std::uint64_t size : {1u, 64u, 1000u, 100'000u, 3u << 20}) {
        CAPTURE(size);
        std::byte* const payload = with.results.allocate(size);
        REQUIRE(payload != nullptr);
        CHECK(reinterpret_cast<std::uintptr_t>(payload) % 64 == 0);
        std::memset(payload, 1, size);
        const auto found = with.checked(with.offset_of(payload), size);
        REQUIRE(found.has_value());
        CHECK(found->data() == payload);
        CHECK(found->size() == size);
    }
}

TEST_CASE("a result that the host has not released is never lent again") {
    std::mt19937_64 random{11};
    worker with;
    struct result {
        std::byte* payload;
        std::uint64_t size;
        unsigned char with;
    };
    std::vector<result> out;
    for (int step = 0; step < 5000; ++step) {
        const std::uint64_t size = 1 + random() % (random() % 8 == 0 ? 200 * kib : 3 * kib);
        if (std::byte* const payload = with.results.allocate(size)) {
            out.push_back({payload, size, static_cast<unsigned char>(step)});
            std::memset(payload, out.back().with, size);
        } else {
            REQUIRE(with.results.error() == EDQUOT);
        }
        while (out.size() > 50 || (!out.empty() && random() % 3 == 0)) {
            std::swap(out[random() % out.size()], out.back());
            const result& last = out.back();
            REQUIRE(last.payload[0] == std::byte{last.with});
            REQUIRE(std::memcmp(last.payload, last.payload + 1, last.size - 1) == 0);
            release_result(last.payload);
            out.pop_back();
        }
        if (step % 500 == 0) with.results.trim(0);
        REQUIRE(with.results.secured_bytes() == with.allowed.taken());
    }
}

TEST_CASE("a released result is lent again without more memory") {
    worker with;
    std::byte* const first = with.results.allocate(mib);
    const std::uint64_t before = with.shared.resident_bytes();
    release_result(first);
    for (int i = 0; i < 100; ++i) {
        std::byte* const next = with.results.allocate(mib);
        REQUIRE(next == first);
        release_result(next);
    }
    CHECK(with.shared.resident_bytes() == before);
}

TEST_CASE("results that are released more slowly than they are made are all found again") {
    worker with{64 * mib};
    std::vector<std::byte*> out;
    for (int i = 0; i < 1000; ++i) out.push_back(with.results.allocate(10 * kib));
    for (std::byte* const each : out) release_result(each);
    const std::uint64_t held = with.results.secured_bytes();
    for (int i = 0; i < 5000; ++i) release_result(with.results.allocate(10 * kib));
    CHECK(with.results.secured_bytes() <= held);
    with.results.trim(0);
    CHECK(with.results.secured_bytes() == 0);
}

TEST_CASE("over budget nothing is lent, until the host releases something") {
    worker with{mib};
    std::byte* const first = with.results.allocate(900 * kib);
    REQUIRE(first != nullptr);
    CHECK(with.results.allocate(900 * kib) == nullptr);
    CHECK(with.results.error() == EDQUOT);
    release_result(first);
    CHECK(with.results.allocate(900 * kib) == first);
}

TEST_CASE("before it refuses, a worker looks at every result that is out") {
    worker with{mib};
    std::byte* const large = with.results.allocate(700 * kib);
    for (int i = 0; i < 100; ++i) REQUIRE(with.results.allocate(kib) != nullptr);
    release_result(large);
    CHECK(with.results.allocate(800 * kib) != nullptr);
}

TEST_CASE("what others hold of the budget is not there for results") {
    worker with;
    REQUIRE(with.allowed.take(1, 7 * mib));
    CHECK(with.results.allocate(2 * mib) == nullptr);
    CHECK(with.results.error() == EDQUOT);
    with.allowed.forget(1);
    CHECK(with.results.allocate(2 * mib) != nullptr);
}

TEST_CASE("a size that no part can hold is refused") {
    worker with;
    for (const std::uint64_t size : {with.shared.results(0).size(), huge - 64, huge - 63, huge}) {
        CHECK(with.results.allocate(size) == nullptr);
        CHECK(with.results.error() == ENOSPC);
    }
    CHECK(with.allowed.taken() == 0);
}

TEST_CASE("a kernel without memory is an outcome, and costs no budget") {
    worker with;
    for (const int error : {ENOSPC, ENOMEM}) {
        fail_point::arm("memory.populate_write", fail_point::action::fail, 1, 1000, error);
        CHECK(with.results.allocate(mib) == nullptr);
        CHECK(with.results.error() == error);
        fail_point::disarm();
    }
    CHECK(with.allowed.taken() == 0);
    CHECK(with.results.allocate(mib) != nullptr);
}

TEST_CASE("a payload that was withdrawn is lent again; one that was never lent changes nothing") {
    worker with;
    std::byte* const first = with.results.allocate(mib);
    std::byte* const second = with.results.allocate(mib);
    with.results.withdraw(first);
    CHECK(with.results.allocate(mib) == first);
    with.results.withdraw(second + 64);
    CHECK(with.results.allocate(mib) != second);
}

TEST_CASE("a worker that trims gives its memory and its budget back, but for what is out") {
    worker with;
    const std::uint64_t before = with.shared.resident_bytes();
    std::byte* const kept = with.results.allocate(1000);
    std::memset(kept, 5, 1000);
    std::byte* const given = with.results.allocate(4 * mib);
    std::memset(given, 5, 4 * mib);
    release_result(given);
    with.results.trim(0);
    CHECK(with.allowed.taken() <= 64 * kib);
    CHECK(with.shared.resident_bytes() - before == with.allowed.taken());
    CHECK(std::memcmp(kept, kept + 1, 999) == 0);
    CHECK(kept[0] == std::byte{5});
    release_result(kept);
    with.results.trim(0);
    CHECK(with.allowed.taken() == 0);
    CHECK(with.shared.resident_bytes() == before);
}

// ---- what the host believes

TEST_CASE("the host believes no place outside of the part, or without room for a header") {
    worker with;
    std::byte* const payload = with.results.allocate(1000);
    const std::uint64_t offset = with.offset_of(payload);
    const std::uint64_t part = with.shared.results(0).size();
    CHECK(with.checked(offset, 1000).has_value());
    // What lies before the part could be taken for a header.
    std::memset(with.shared.arguments().last(64).data(), 0xff, 64);
    CHECK_FALSE(with.checked(offset + 1, 1).has_value());
    CHECK_FALSE(with.checked(offset + 32, 1).has_value());
    CHECK_FALSE(with.checked(0, 1).has_value());
    CHECK_FALSE(with.checked(32, 1).has_value());
    CHECK_FALSE(with.checked(part, 1).has_value());
    CHECK_FALSE(with.checked(part + 64, 0).has_value());
    CHECK_FALSE(with.checked(huge, 1).has_value());
    CHECK_FALSE(with.checked(huge - 63, 64).has_value());
    CHECK_FALSE(with.checked(offset, huge).has_value());
    CHECK_FALSE(with.checked(offset, part - offset + 1).has_value());
}

TEST_CASE("the host believes no size above that of the block") {
    worker with;
    std::byte* const payload = with.results.allocate(1000);
    const std::uint64_t offset = with.offset_of(payload);
    CHECK(with.checked(offset, 999).has_value());
    CHECK_FALSE(with.checked(offset, 1001).has_value());
    CHECK_FALSE(with.checked(offset, 60 * mib).has_value());
    // Where no block is, the header says 0.
    CHECK_FALSE(with.checked(32 * mib, 1).has_value());
}

TEST_CASE("a header that was written over lets the host believe nothing outside of the part") {
    worker with;
    std::byte* const payload = with.results.allocate(1000);
    const std::uint64_t offset = with.offset_of(payload);
    std::memset(payload - sizeof(result_header), 0xff, sizeof(result_header));
    const std::uint64_t part = with.shared.results(0).size();
    CHECK(with.checked(offset, part - offset).has_value());
    CHECK_FALSE(with.checked(offset, part - offset + 1).has_value());
    CHECK_FALSE(with.checked(offset, huge).has_value());
}

TEST_CASE("a worker lends, the host reads and releases, and the worker lends the same again") {
    const prefork::test::leaks guard;
    worker with;
    auto* const sums = new (with.shared.control().data()) std::array<budget::word, 2>{};
    int to_host[2];
    int to_worker[2];
    REQUIRE(::pipe(to_host) == 0);
    REQUIRE(::pipe(to_worker) == 0);
    const pid_t pid = prefork::test::fork_child([&] {
        if (with.shared.become_worker(0) != 0) return 1;
        budget allowed{*sums, 4 * mib};
        result_arena results{with.shared.results(0), allowed, 0};
        for (unsigned char round = 1; round <= 100; ++round) {
            std::byte* const payload = results.allocate(3 * mib);
            if (payload == nullptr) return 2;
            std::memset(payload, round, 3 * mib);
            const std::uint64_t offset = with.offset_of(payload);
            char go = 0;
            if (::write(to_host[1], &offset, sizeof offset) != sizeof offset) return 3;
            if (::read(to_worker[0], &go, 1) != 1) return 4;
        }
        return 0;
    });
    ::close(to_host[1]);
    ::close(to_worker[0]);
    for (unsigned char round = 1; round <= 100; ++round) {
        std::uint64_t offset = 0;
        REQUIRE(::read(to_host[0], &offset, sizeof offset) == sizeof offset);
        const auto result = with.checked(offset, 3 * mib);
        REQUIRE(result.has_value());
        CHECK(result->front() == std::byte{round});
        CHECK(result->back() == std::byte{round});
        release_result(result->data());
        REQUIRE(::write(to_worker[1], "!", 1) == 1);
    }
    CHECK(prefork::test::wait_for_child(pid) == prefork::test::child_end{});
    CHECK((*sums)[0] > 3 * mib);  // the dead worker's share, until it is forgotten
    ::close(to_host[0]);
    ::close(to_worker[1]);
}

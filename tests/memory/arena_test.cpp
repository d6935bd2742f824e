#include "memory/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include "memory/page.hpp"
#include "support/catch.hpp"

using prefork::memory::arena;
using prefork::memory::block;
using prefork::memory::page_bytes;

namespace {

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = kib * kib;
constexpr std::uint64_t gib = kib * mib;

/// Address space that nobody can touch until it was secured, and a limit on that: a block without
/// pages, or pages given back too early, are a crash.
class fenced_pages final : public prefork::memory::page_source {
  public:
    explicit fenced_pages(std::uint64_t size, std::uint64_t limit = ~std::uint64_t{0})
        : limit_(limit),
          part_(static_cast<std::byte*>(::mmap(nullptr, size, PROT_NONE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)),
                size) {}
    ~fenced_pages() override { ::munmap(part_.data(), part_.size()); }

    int secure(std::span<std::byte> bytes) override {
        ++calls;
        if (bytes.size() > limit_ - secured) return EDQUOT;
        secured += bytes.size();
        return set_access(bytes, PROT_READ | PROT_WRITE);
    }
    void release(std::span<std::byte> bytes) override {
        secured -= bytes.size();
        ::madvise(bytes.data(), bytes.size(), MADV_DONTNEED);
        static_cast<void>(set_access(bytes, PROT_NONE));
    }
    [[nodiscard]] std::span<std::byte> part() const { return part_; }

    std::uint64_t secured = 0;
    int calls = 0;

  private:
    static int set_access(std::span<std::byte> bytes, int access) {
        return ::mprotect(bytes.data(), bytes.size(), access) == 0 ? 0 : errno;
    }
    std::uint64_t limit_;
    std::span<std::byte> part_;
};

// Fills each block with a byte of its own, and looks whether it is still there.
void fill(const block& of, unsigned char with) { std::memset(of.data, with, of.size); }
bool holds(const block& of, unsigned char with) {
    return std::all_of(of.data, of.data + of.size,
                       [&](std::byte each) { return each == std::byte{with}; });
}

struct held {
    block memory;
    unsigned char with;
};

}  // namespace

TEST_CASE("blocks of any sizes, in any order, never share a byte and always have pages") {
    std::mt19937_64 random{7};
    const auto upto = [&](std::uint64_t n) { return random() % n; };
    fenced_pages pages{64 * mib, 6 * mib};
    arena tested{pages.part(), pages};
    std::vector<held> blocks;
    for (int step = 0; step < 6000; ++step) {
        CAPTURE(step);
        const std::uint64_t sizes[] = {upto(600), upto(5000), upto(40 * kib), upto(500 * kib)};
        if (upto(100) < 52) {
            const std::uint64_t size = sizes[upto(4)];
            const block made = tested.allocate(size);
            if (!made) {
                REQUIRE(tested.error() == EDQUOT);
                continue;
            }
            REQUIRE(made.size >= size);
            REQUIRE(reinterpret_cast<std::uintptr_t>(made.data) % 64 == 0);
            blocks.push_back({made, static_cast<unsigned char>(step)});
            fill(made, blocks.back().with);
        } else if (!blocks.empty()) {
            std::swap(blocks[upto(blocks.size())], blocks.back());
            REQUIRE(holds(blocks.back().memory, blocks.back().with));
            tested.release(blocks.back().memory);
            blocks.pop_back();
        }
        if (upto(200) == 0) tested.trim(upto(2) * mib);
        REQUIRE(tested.secured_bytes() == pages.secured);
        REQUIRE(tested.used_blocks() == blocks.size());
    }
    for (const held& each : blocks) {
        CHECK(holds(each.memory, each.with));
        tested.release(each.memory);
    }
    tested.trim(0);
    CHECK(pages.secured == 0);
    const block whole = tested.allocate(6 * mib);  // nothing is left in pieces
    CHECK(bool(whole));
}

TEST_CASE("a block that was released is used again without asking for pages") {
    fenced_pages pages{64 * mib};
    arena tested{pages.part(), pages};
    for (const std::uint64_t size : {100u, 4096u, 32768u, 32769u, 1u << 20}) {
        CAPTURE(size);
        const block first = tested.allocate(size);
        const int calls = pages.calls;
        tested.release(first);
        const block second = tested.allocate(size);
        CHECK(second.data == first.data);
        CHECK(pages.calls == calls);
    }
}

TEST_CASE("pages that one size has warmed serve others") {
    fenced_pages pages{64 * mib};
    arena tested{pages.part(), pages};
    tested.release(tested.allocate(4 * mib));
    const int calls = pages.calls;
    const block large = tested.allocate(3 * mib);
    const block small = tested.allocate(1000);
    CHECK(large);
    CHECK(small);
    CHECK(pages.calls == calls);
    CHECK(pages.secured == 4 * mib);
}

TEST_CASE("a burst of small blocks leaves its addresses and its pages to large ones") {
    fenced_pages pages{4 * mib};
    arena tested{pages.part(), pages};
    std::vector<block> burst;
    while (const block made = tested.allocate(1000)) burst.push_back(made);
    CHECK(tested.error() == ENOSPC);
    CHECK(burst.size() > 3500);
    for (const block& each : burst) tested.release(each);
    CHECK(bool(tested.allocate(4 * mib)));
}

TEST_CASE("after a burst, as much is kept as is asked for, and no more") {
    fenced_pages pages{64 * mib};
    arena tested{pages.part(), pages};
    std::vector<block> burst;
    for (int i = 0; i < 16; ++i) burst.push_back(tested.allocate(mib));
    for (int i = 0; i < 15; ++i) tested.release(burst[static_cast<std::size_t>(i)]);
    tested.trim(20 * mib);
    CHECK(pages.secured == 16 * mib);
    tested.trim(3 * mib);
    CHECK(pages.secured == 4 * mib);  // and the block in use
    fill(burst.back(), 1);
    tested.trim(0);
    CHECK(pages.secured == mib);
    fill(burst.back(), 2);
}

TEST_CASE("trimming gives back the pages of slabs that hold nothing") {
    fenced_pages pages{64 * mib};
    arena tested{pages.part(), pages};
    std::vector<block> blocks;
    for (std::uint64_t size = 64; size <= 32 * kib; size *= 2) {
        blocks.push_back(tested.allocate(size));
    }
    for (const block& each : blocks) tested.release(each);
    CHECK(pages.secured > 0);
    tested.trim(0);
    CHECK(pages.secured == 0);
}

TEST_CASE("free blocks give their pages back before a block is refused") {
    fenced_pages pages{64 * mib, mib};
    arena tested{pages.part(), pages};
    std::vector<block> small;
    for (std::uint64_t size = 64; size <= 8 * kib; size *= 2)
        small.push_back(tested.allocate(size));
    for (const block& each : small) tested.release(each);
    CHECK(pages.secured > 0);
    CHECK(bool(tested.allocate(mib)));
}

TEST_CASE("a refusal names its reason and leaves the books as they were") {
    fenced_pages pages{16 * mib, mib};
    arena tested{pages.part(), pages};
    const block used = tested.allocate(512 * kib);
    CHECK_FALSE(bool(tested.allocate(600 * kib)));
    CHECK(tested.error() == EDQUOT);
    CHECK_FALSE(bool(tested.allocate(17 * mib)));
    CHECK(tested.error() == ENOSPC);
    CHECK_FALSE(bool(tested.allocate(~std::uint64_t{0})));
    CHECK(tested.error() == ENOSPC);
    CHECK(tested.used_blocks() == 1);
    CHECK(tested.secured_bytes() == 512 * kib);
    tested.release(used);
    CHECK(bool(tested.allocate(mib)));
    CHECK(pages.secured == mib);
}

TEST_CASE("a small block needs no more budget than the pages that it lies in") {
    fenced_pages pages{256 * kib, page_bytes()};
    arena tested{pages.part(), pages};
    const block made = tested.allocate(100);
    REQUIRE(bool(made));
    fill(made, 1);
    CHECK_FALSE(bool(tested.allocate(page_bytes())));
    tested.release(made);
    CHECK(bool(tested.allocate(page_bytes())));
}

TEST_CASE("a small block fits where there is no room for a slab") {
    fenced_pages pages{4 * page_bytes()};
    arena tested{pages.part(), pages};
    for (int i = 0; i < 4; ++i) CHECK(bool(tested.allocate(100)));
    CHECK_FALSE(bool(tested.allocate(100)));
    CHECK(tested.error() == ENOSPC);
}

TEST_CASE("slabs that empty and fill in any order lose no place and no page") {
    constexpr std::size_t slabs = 5;
    constexpr std::size_t places = 16;  // of 16 KiB
    for (std::size_t pair = 0; pair < slabs * slabs; ++pair) {
        CAPTURE(pair);
        fenced_pages pages{4 * mib};
        arena tested{pages.part(), pages};
        std::vector<block> blocks;
        const auto allocate = [&] { return tested.allocate(16 * kib); };
        for (std::size_t i = 0; i < slabs * places; ++i) blocks.push_back(allocate());
        // One place in each is free, then two slabs are empty, whichever they are.
        std::vector<std::size_t> released;
        for (std::size_t slab = 0; slab < slabs; ++slab) released.push_back(slab * places);
        for (const std::size_t slab : {pair / slabs, pair % slabs}) {
            for (std::size_t i = 1; i < places; ++i) released.push_back(slab * places + i);
            if (pair / slabs == pair % slabs) break;
        }
        for (const std::size_t i : released) tested.release(blocks[i]);
        const int calls = pages.calls;
        for (const std::size_t i : released) blocks[i] = allocate();
        CHECK(pages.calls == calls);
        std::sort(blocks.begin(), blocks.end(),
                  [](const block& a, const block& b) { return a.data < b.data; });
        for (std::size_t i = 1; i < blocks.size(); ++i) {
            REQUIRE(blocks[i].data >= blocks[i - 1].data + 16 * kib);
        }
        for (const block& each : blocks) tested.release(each);
        tested.trim(0);
        CHECK(pages.secured == 0);
    }
}

TEST_CASE("a slab that gets no more pages goes on with those that it has") {
    fenced_pages pages{16 * mib, 320 * kib};
    arena tested{pages.part(), pages};
    std::vector<block> blocks;
    while (const block made = tested.allocate(32 * kib)) blocks.push_back(made);
    REQUIRE(blocks.size() == 10);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        tested.release(blocks[i]);
        blocks[i] = tested.allocate(32 * kib);
        REQUIRE(bool(blocks[i]));
        CHECK_FALSE(bool(tested.allocate(32 * kib)));
    }
}

TEST_CASE("nothing is a block too, with a place of its own") {
    fenced_pages pages{mib};
    arena tested{pages.part(), pages};
    const block first = tested.allocate(0);
    const block second = tested.allocate(0);
    CHECK(first);
    CHECK(second);
    CHECK(first.data != second.data);
}

TEST_CASE("blocks of many gigabytes keep all their bits") {
    fenced_pages pages{64 * gib};
    arena tested{pages.part(), pages};
    const block first = tested.allocate(5 * gib);
    const block second = tested.allocate(5 * gib + 1);
    REQUIRE(bool(first));
    REQUIRE(bool(second));
    CHECK(first.size == 5 * gib);
    CHECK(second.size == 5 * gib + page_bytes());
    CHECK(second.data >= first.data + first.size);
    CHECK(tested.secured_bytes() == 10 * gib + page_bytes());
    second.data[5 * gib] = std::byte{1};
    tested.release(first);
    tested.release(second);
    tested.trim(0);
    CHECK(bool(tested.allocate(64 * gib)));
}

#include "memory/extents.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

using prefork::memory::extent;
using prefork::memory::extents;

namespace {

// The same, as slow and as simple as can be: a flag a number.
class model {
  public:
    explicit model(std::uint64_t size) : free_(size, false) {}

    std::vector<extent> runs() const {
        std::vector<extent> found;
        for (std::uint64_t i = 0; i < free_.size(); ++i) {
            if (!free_[i]) continue;
            if (i > 0 && free_[i - 1]) {
                ++found.back().size;
            } else {
                found.push_back({i, 1});
            }
        }
        return found;
    }
    // The tightest run, the first of several.
    const extent* best(const std::vector<extent>& in, std::uint64_t size) const {
        const extent* found = nullptr;
        for (const extent& each : in) {
            if (each.size >= size && (found == nullptr || each.size < found->size)) found = &each;
        }
        return found;
    }
    void mark(extent range, bool free) {
        for (std::uint64_t i = 0; i < range.size; ++i) free_[range.from + i] = free;
    }
    bool is_free(extent range) const {
        for (std::uint64_t i = 0; i < range.size; ++i) {
            if (!free_[range.from + i]) return false;
        }
        return true;
    }

  private:
    std::vector<bool> free_;
};

std::uint64_t sum(const std::vector<extent>& runs) {
    std::uint64_t total = 0;
    for (const extent& each : runs) total += each.size;
    return total;
}

// The last of several.
const extent* largest(const std::vector<extent>& runs) {
    const extent* found = &runs.front();
    for (const extent& each : runs) {
        if (each.size >= found->size) found = &each;
    }
    return found;
}

bool same(const std::optional<extent>& a, std::uint64_t from, std::uint64_t size) {
    return a && a->from == from && a->size == size;
}

}  // namespace

TEST_CASE("whatever is taken and put back, the set is that of a model with a flag a number") {
    constexpr std::uint64_t size = 300;
    std::mt19937_64 random{20240607};
    const auto upto = [&](std::uint64_t n) { return random() % n; };
    extents set;
    model flags{size};
    set.put({0, size});
    flags.mark({0, size}, true);
    std::vector<extent> taken;
    for (int step = 0; step < 20'000; ++step) {
        CAPTURE(step);
        const auto runs = flags.runs();
        const std::uint64_t wanted = 1 + upto(upto(4) == 0 ? 120 : 12);
        std::optional<extent> got;
        switch (upto(5)) {
            case 0:
            case 1: {
                got = set.take(wanted);
                const extent* const fit = flags.best(runs, wanted);
                REQUIRE(got.has_value() == (fit != nullptr));
                if (fit != nullptr) REQUIRE(same(got, fit->from, wanted));
                break;
            }
            case 2:
                got = set.take_largest(wanted);
                REQUIRE(got.has_value() == !runs.empty());
                if (got) {
                    const auto& [from, most] = *largest(runs);
                    const std::uint64_t given = std::min(wanted, most);
                    REQUIRE(same(got, from + most - given, given));
                }
                break;
            default:
                if (taken.empty()) break;
                std::swap(taken[upto(taken.size())], taken.back());
                set.put(taken.back());
                flags.mark(taken.back(), true);
                taken.pop_back();
        }
        if (got) {
            REQUIRE(flags.is_free(*got));
            flags.mark(*got, false);
            taken.push_back(*got);
        }
        const auto now = flags.runs();
        REQUIRE(set.count() == now.size());  // neighbours are one
        REQUIRE(set.total() == sum(now));
    }
}

TEST_CASE("ranges put back in any order become one") {
    extents set;
    set.put({20, 10});
    set.put({0, 10});
    CHECK(set.count() == 2);
    set.put({10, 10});
    CHECK(set.count() == 1);
    CHECK(set.largest() == 30);
}

TEST_CASE("the tightest range is taken, so that large ones last") {
    extents set;
    set.put({0, 100});
    set.put({200, 8});
    set.put({300, 10});
    CHECK(same(set.take(8), 200, 8));
    CHECK(same(set.take(8), 300, 8));
    CHECK(same(set.take(8), 0, 8));
}

TEST_CASE("the largest range is taken from its end, and never more than it has") {
    extents set;
    set.put({0, 10});
    set.put({100, 50});
    CHECK(same(set.take_largest(20), 130, 20));
    CHECK(same(set.take_largest(1000), 100, 30));
    CHECK(same(set.take_largest(1000), 0, 10));
    CHECK_FALSE(set.take_largest(1000).has_value());
}

TEST_CASE("nothing is neither taken nor put") {
    extents set;
    set.put({5, 0});
    CHECK(set.count() == 0);
    set.put({5, 5});
    CHECK_FALSE(set.take(0).has_value());
    CHECK_FALSE(set.take_largest(0).has_value());
    CHECK(set.total() == 5);
}

TEST_CASE("ranges of many gigabytes keep all their bits") {
    constexpr std::uint64_t gib = std::uint64_t{1} << 30;
    extents set;
    set.put({0, 1024 * gib});
    CHECK(same(set.take(5 * gib), 0, 5 * gib));
    CHECK(same(set.take(5 * gib), 5 * gib, 5 * gib));
    set.put({0, 5 * gib});
    CHECK(set.count() == 2);
    set.put({5 * gib, 5 * gib});
    CHECK(set.count() == 1);
    CHECK(set.largest() == 1024 * gib);
}

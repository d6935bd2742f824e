#include "prefork/stream.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <stdexcept>
#include <string>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

int twice(int x) { return 2 * x; }
std::string text_of(int x) { return std::to_string(x); }
int picky(int x) {
    if (x == 1) throw std::out_of_range("not " + std::to_string(x));
    return x;
}

/// Counts what was taken of it: 0, 1, 2 … without end.
struct endless {
    struct iterator {
        using value_type = int;
        using difference_type = std::ptrdiff_t;
        int* next;
        int operator*() const { return *next; }
        iterator& operator++() { return ++*next, *this; }
        void operator++(int) { ++*next; }
        friend bool operator==(const iterator&, std::default_sentinel_t) { return false; }
    };
    int* next;
    [[nodiscard]] iterator begin() const { return {next}; }
    [[nodiscard]] std::default_sentinel_t end() const { return {}; }
};

}  // namespace

TEST_CASE("a stream gives all results in the order of its inputs, of any range") {
    const pf::test::leaks none_left;
    for (const unsigned workers : {1u, 2u, pf::inline_workers}) {
        pf::pool pool{{.workers = workers}};
        std::vector<int> inputs(1000);
        for (int i = 0; i < 1000; ++i) inputs[static_cast<std::size_t>(i)] = i;
        int expected = 0;
        for (const int each : pool.stream(inputs, twice, {.max_in_flight = 7})) {
            REQUIRE(each == 2 * expected++);
        }
        CHECK(expected == 1000);
        std::string all;
        for (std::string& each : pool.stream(std::list{1, 2, 3}, text_of)) all += each;
        CHECK(all == "123");
        for (const int each : pool.stream(std::vector<int>{}, twice)) FAIL(each);
    }
}

TEST_CASE("no more inputs are taken than may be under way") {
    pf::pool pool{{.workers = 2}};
    int taken = 0;
    auto results = pool.stream(endless{&taken}, twice, {.max_in_flight = 5});
    CHECK(taken == 0);
    int got = 0;
    for (const int each : results) {
        CHECK(each == 2 * got++);
        CHECK(taken <= got + 4);
        if (got == 100) break;
    }
    CHECK(taken <= 104);
}

TEST_CASE("in the order of completion a slow task holds up no other") {
    pf::pool pool{{.workers = 2, .grace = 0ms}};
    const auto wait_or_not = [](int x) {
        if (x == 0) ::pause();
        return x;
    };
    const std::vector<int> inputs{0, 1, 2, 3, 4, 5, 6, 7};
    std::vector<int> got;
    for (const int each :
         pool.stream(inputs, wait_or_not, {.max_in_flight = 4, .order = pf::order::completion})) {
        got.push_back(each);
        if (got.size() == 7) break;
    }
    std::sort(got.begin(), got.end());
    CHECK(got == std::vector{1, 2, 3, 4, 5, 6, 7});
    pool.kill_all();
}

TEST_CASE("an error comes where its result would have, and the stream goes on after it") {
    pf::pool pool{{.workers = 2}};
    const std::vector<int> inputs{0, 1, 2, 3, 4, 5};
    auto results = pool.stream(inputs, picky);
    std::vector<int> got;
    auto at = results.begin();
    got.push_back(*at);
    REQUIRE_THROWS_WITH(++at, "not 1");
    for (++at; got.size() < 3; ++at) got.push_back(*at);
    CHECK(got == std::vector{0, 2, 3});
}

TEST_CASE("a stream has the options of its view") {
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    const std::vector<int> inputs{1};
    auto results = pool.with({.timeout = 5ms}).stream(inputs, [](int) {
        ::pause();
        return 0;
    });
    REQUIRE_THROWS_AS(results.begin(), pf::task_timeout);
}

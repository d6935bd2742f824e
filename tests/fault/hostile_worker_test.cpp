// design.md §6, "a worker scribbles over what it can write": random bytes, and plausible lies. That
// task, at worst those in flight, end with an error; all else is right, and the host neither
// crashes, hangs nor reads out of bounds (the last of these is for a sanitizer to see).
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/lies.hpp"
#include "support/log_lines.hpp"
#include "support/side_by_side.hpp"
#include "support/until.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::grip;
using pf::test::lie;

namespace {

constexpr std::chrono::seconds longest{20};

pf::pool_options options() {
    return {.workers = grip::workers,
            .memory_budget = 64u << 20,
            .queue_limit = grip::queue_limit,
            .grace = 100ms};
}

/// Some work, so that tasks wait and run while a lie is told.
void work() {
    const auto end = std::chrono::steady_clock::now() + 1ms;
    while (std::chrono::steady_clock::now() < end) {
    }
}

long square(long x) {
    work();
    return x * x;
}

std::string twice(const std::string& text) {
    work();
    return text + text;
}

/// What became of some tasks.
struct tally {
    int right = 0;
    int wrong = 0;  ///< another value than there should be
    int failed = 0;
    int hung = 0;

    template <class T>
    void add(pf::future<T>& of, const T& expected) {
        try {
            ++(of.get_for(longest) == expected ? right : wrong);
        } catch (const pf::wait_timeout&) {
            ++hung;
        } catch (const std::exception&) {
            ++failed;
        }
    }
};

/// A round of tasks, half with their arguments in the slot and half in a block, around `hostile`.
template <class Hostile>
tally run_around(pf::pool& pool, Hostile hostile) {
    std::vector<pf::future<long>> small;
    std::vector<pf::future<std::string>> large;
    const auto submit_some = [&](long count) {
        for (long i = 0; i < count; ++i) {
            small.push_back(pool.submit(square, i));
            large.push_back(pool.submit(twice, std::string(150, static_cast<char>('a' + i))));
        }
    };
    submit_some(3);
    auto liar = hostile();
    submit_some(9);
    tally all;
    for (std::size_t i = 0; i < small.size(); ++i) {
        const long x = static_cast<long>(i < 3 ? i : i - 3);
        all.add(small[i], x * x);
        all.add(large[i], std::string(300, static_cast<char>('a' + x)));
    }
    if constexpr (!std::is_same_v<decltype(liar), int>) {
        try {
            static_cast<void>(liar.get_for(longest));
        } catch (const pf::wait_timeout&) {
            ++all.hung;
        } catch (const std::exception&) {
        }
    }
    return all;
}

/// The pool is as good as ever, as soon as what was done to it is put right.
bool serves(pf::pool& pool) {
    const tally next = run_around(pool, [] { return 0; });
    return next.right == 24;
}

int tell(std::size_t which) {
    const grip everything;
    // While another runs, and others wait.
    static_cast<void>(pf::test::until(
        [&] { return everything.running() != nullptr && everything.waiting() != nullptr; }, 5s));
    if (everything.running() != nullptr) pf::test::lies[which].tell(everything);
    return 1;
}

bool said(const pf::test::log_lines& log, const std::string& what) {
    const auto lines = log.texts();
    return what.empty() || std::any_of(lines.begin(), lines.end(), [&](const std::string& each) {
               return each.find(what) != each.npos;
           });
}

/// What is wrong with a pool to which lie number `which` is told. Not by Catch, which knows nothing
/// of what its children find.
void judge(std::size_t which, pf::test::complaints& found) {
    const auto check = [&found](bool holds, const std::string& what) {
        if (!holds) found.say(what + "\n");
    };
    const lie& told = pf::test::lies[which];
    const pf::test::leaks before;
    const pf::test::log_lines log;
    {
        pf::pool pool{options()};
        const auto all_well = [&] { return serves(pool) && said(log, told.noticed); };
        bool well = false;
        // The task that is lied of may have been claimed a moment before: then nothing was said.
        for (int times = 0; times < 4 && !well; ++times) {
            const tally round = run_around(pool, [&] { return pool.submit(tell, which); });
            check(round.hung == 0, "a task hung");
            // Its own slot's arguments and result can be changed by any worker: one task at most.
            check(round.wrong <= 1, std::to_string(round.wrong) + " results were wrong");
            check(round.failed <= 8, std::to_string(round.failed) + " tasks failed");
            well = pf::test::until(all_well, longest / 4);
        }
        check(well, "it isn't put right, or nobody was told");
        const bool shown = pool.describe().find("written over") != std::string::npos;
        check(shown || *told.noticed == '\0', "describe() doesn't tell");
        check(pool.shutdown(10s), "shutdown() took longer than it may");
    }
    check(pf::test::until([&] { return before.left().empty(); }), "left: " + before.left());
    if (*found.text == '\0') return;
    for (const std::string& line : log.texts()) found.say("    " + line + "\n");
}

std::uint64_t seed() {
    const char* const wanted = std::getenv("PREFORK_TEST_SEED");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
}

/// Random words over all that a worker can write, or over one part of it, again and again.
int scribble(std::uint64_t from, int what, int times) {
    const grip everything;
    std::mt19937_64 random{from};
    std::span<std::byte> over =
        everything.region.control().first(pf::process::control::bytes(grip::seats));
    if (what == 1) {
        over = everything.region.ring().first(grip::slot_count * (sizeof(pf::ring::slot) + 16));
    }
    if (what == 2) over = everything.region.results(everything.seat).first(16384);
    for (int i = 0; i < times; ++i) {
        const std::size_t at = random() % (over.size() / 8) * 8;
        const std::uint64_t word = random() >> (random() % 64);
        std::memcpy(over.data() + at, &word, sizeof word);
    }
    return 1;
}

}  // namespace

TEST_CASE("a worker that tells a plausible lie spoils tasks in flight at most") {
    constexpr std::size_t count = std::size(pf::test::lies);
    constexpr std::size_t at_once = 4;  // most of their time they wait for the next look
    auto* const found = pf::test::shared_with_children<pf::test::complaints>(count);
    const std::vector<int> ends =
        pf::test::run_side_by_side(count, at_once, [&](std::size_t i) { judge(i, found[i]); });
    for (std::size_t i = 0; i < count; ++i) {
        INFO(pf::test::lies[i].name);
        CHECK(std::string(found[i].text) == "");
        CHECK(ends[i] == 0);  // the host lives
    }
}

TEST_CASE("a worker that writes random bytes over all that it can spoils tasks in flight at most") {
    std::mt19937_64 random{seed()};
    for (int round = 0; round < 12; ++round) {
        const std::uint64_t from = random();
        std::cout << "scribbling from seed " << from << ", round " << round << std::endl;
        const pf::test::leaks none_left;
        const pf::test::log_lines log;
        pf::pool pool{options()};
        const int times = round < 6 ? 100'000 : 50;
        const tally first =
            run_around(pool, [&] { return pool.submit(scribble, from, round % 3, times); });
        CHECK(first.hung == 0);
        CHECK(pf::test::until([&] { return serves(pool); }, 2 * longest));
        CHECK(pool.shutdown(10s));
    }
}

TEST_CASE("a worker that never stops writing is ended, and the log says so") {
    const pf::test::log_lines log;
    pf::pool pool{options()};
    auto liar = pool.submit([] {
        for (const grip everything;;) everything.control.flags().closing.store(1);
    });
    try {
        liar.get_for(longest);
        FAIL("it ended by itself");
    } catch (const pf::worker_lost& e) {
        CHECK(e.killed_by() == pf::killer::pool);
        CHECK_THAT(e.what(), pf::test::containing("written over"));
    }
    CHECK(pf::test::until([&] { return serves(pool); }, longest));
    CHECK(pf::test::until([&] { return said(log, "ran a task meanwhile, and is ended"); }));
    CHECK_THAT(pool.describe(), pf::test::containing("switch 'closing' was written over with 0x1"));
}

TEST_CASE("a worker that writes at random and never stops is ended, whoever runs beside it") {
    const pf::test::log_lines log;
    pf::pool pool{options()};
    auto liar = pool.submit([] {
        for (std::uint64_t i = 0;; ++i) scribble(i, 0, 1000);
    });
    static_cast<void>(run_around(pool, [] { return 0; }));
    CHECK_THROWS_AS(liar.get_for(longest), pf::error);
    CHECK(pf::test::until([&] { return serves(pool); }, longest));
    CHECK_THAT(pool.describe(), pf::test::containing("written over"));
}

TEST_CASE("a worker can't change the arguments of another's task that lie in a block") {
    const pf::test::log_lines log;
    pf::pool pool{options()};
    auto liar = pool.submit([] {
        const grip everything;
        everything.region.arguments()[64] = std::byte{1};
    });
    try {
        liar.get_for(longest);
        FAIL("it could");
    } catch (const pf::worker_lost& e) {
        CHECK(e.signal() == SIGSEGV);
    }
}

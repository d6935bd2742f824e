#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <new>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

// The host's own memory runs out, at each allocation in turn: of the monitor while it settles a
// death, and of whoever ends the pool. A task ends with its result or an error, the pool goes on,
// and the host lives.

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

// One allocation after so many is refused, or several; of the threads beside the main one, or of
// that one.
std::atomic<int> until_refused{-1};
std::atomic<int> refusals{0};
std::atomic<bool> of_main{false};
std::atomic<pid_t> host{0};

bool is_refused() noexcept {
    if (until_refused.load(std::memory_order_relaxed) < 0 || ::getpid() != host) return false;
    if ((::gettid() == host) != of_main.load()) return false;
    if (until_refused.load() > 0) return until_refused.fetch_sub(1), false;
    return refusals.fetch_sub(1) > 0;
}

void refuse(int after, int times, bool in_main) {
    host = ::getpid();
    of_main = in_main;
    refusals = times;
    until_refused = after;
}
void refuse_no_more() { until_refused = -1; }

int twice(int x) { return 2 * x; }

}  // namespace

// Not inlined: gcc 12 would see free() at the end of what another operator new began.
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (is_refused()) throw std::bad_alloc{};
    if (void* const made = std::malloc(size)) return made;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return is_refused() ? nullptr : std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }

TEST_CASE("a death is settled whatever memory the monitor can't have for it") {
    const int times = GENERATE(1, 20);
    for (int after = 0; after < 40; ++after) {
        CAPTURE(times, after);
        pf::pool pool{{.workers = 1, .retries = 0}};
        auto before = pool.submit(twice, 1);
        REQUIRE(before.wait_for(20s));  // its result lies in the ring while its worker dies
        auto lost = pool.with({.label = "a label that is longer than a small string"}).submit([] {
            return ::raise(SIGKILL);
        });
        auto again = pool.with({.retries = 1}).submit(twice, 3);
        refuse(after, times, false);
        REQUIRE(lost.wait_for(20s));
        REQUIRE(again.wait_for(20s));
        refuse_no_more();
        REQUIRE_THROWS_AS(lost.get(), pf::worker_lost);
        CHECK(again.get() == 6);
        const pf::expected<int> got = before.result();
        if (got) {
            CHECK(*got == 2);
        } else {
            CHECK(got.error().kind() == pf::failure_kind::worker_lost);
            CHECK_THAT(got.error().what(), pf::test::containing("no memory"));
        }
        CHECK(pool.submit(twice, 4).get_for(20s) == 8);
    }
}

TEST_CASE("a deadline that passes while the monitor has no memory is kept a little later") {
    for (int after = 0; after < 10; ++after) {
        CAPTURE(after);
        pf::pool pool{{.workers = 1, .grace = 1ms}};
        auto stuck = pool.with({.timeout = 20ms}).submit([] {
            for (;;) ::pause();
        });
        const auto soon = std::chrono::steady_clock::now() + 10ms;
        auto late = pool.with({.deadline = soon}).submit(twice, 1);
        refuse(after, 5, false);
        REQUIRE(stuck.wait_for(20s));
        REQUIRE(late.wait_for(20s));
        refuse_no_more();
        REQUIRE_THROWS_AS(stuck.get(), pf::task_timeout);
        REQUIRE_THROWS_AS(late.get(), pf::task_expired);
    }
}

TEST_CASE("a pool that ends without memory for it leaves no thread, and the host lives") {
    const pf::test::leaks none_left;
    for (int after = 0; after < 12; ++after) {
        CAPTURE(after);
        auto pool = std::make_unique<pf::pool>(
            pf::pool_options{.workers = 1, .name = "a name longer than a small string"});
        REQUIRE(pool->submit(twice, 1).get_for(20s) == 2);
        refuse(after, 1, true);
        pool.reset();
        refuse_no_more();
    }
}

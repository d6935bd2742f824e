#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/own_cgroup.hpp"
#include "support/sanitizer.hpp"
#include "support/surroundings.hpp"

// docs/surroundings.md, "memory": less of it than is asked for. Running out is an error, or a wait,
// and never the host's end.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::expect;
using pf::test::expect_error;
using pf::test::in_surroundings;
using pf::test::own_cgroup;

namespace {

std::string same(const std::string& text) { return text; }

/// `body` in a memory cgroup of that size, which it may change.
template <class Body>
void in_memory_of(std::uint64_t bytes, Body body) {
    // A sanitizer's own memory would count as well.
    if (pf::test::sanitized()) return;
    pf::test::with_cgroup("memory", own_cgroup::memory_limit, [&](const own_cgroup& small) {
        small.limit_memory(bytes);
        CHECK(in_surroundings([&] {
                  small.enter();
                  body(small);
              }) == "");
    });
}

/// All of so many tasks at once end, with their result or for want of memory; how many with a
/// result.
int submit_many(pf::pool& pool, int tasks, std::size_t bytes) {
    std::vector<pf::future<std::string>> all;
    int right = 0;
    for (int i = 0; i < tasks; ++i) all.push_back(pool.submit(same, std::string(bytes, 'x')));
    for (auto& each : all) {
        try {
            expect(each.get_for(60s) == std::string(bytes, 'x'), "a result is wrong");
            ++right;
        } catch (const pf::payload_too_large&) {
        }
    }
    return right;
}

}  // namespace

TEST_CASE("in a small memory cgroup, a budget of its half is chosen, and more has to wait") {
    in_memory_of(64u << 20, [](const own_cgroup&) {
        pf::pool pool{{.workers = 2}};
        expect(pool.describe().find("budget of 32 MiB") != std::string::npos, pool.describe());
        expect_error<pf::payload_too_large>(
            [&] { pool.submit(same, std::string(33u << 20, 'x')).get_for(60s); },
            {"budget of 33554432"});
        // 48 MiB, as much again for results, and the copies of those that wait.
        expect(submit_many(pool, 48, 1u << 20) >= 16, "what fits has no result");
        pf::test::use(pool);
    });
}

TEST_CASE("a budget beyond the memory cgroup's limit is no promise: what doesn't fit is an error") {
    in_memory_of(64u << 20, [](const own_cgroup& small) {
        pf::pool pool{{.workers = 2, .memory_budget = 1u << 30}};
        expect_error<pf::payload_too_large>(
            [&] { static_cast<void>(pool.make_shared_array<char>(100u << 20)); },
            {"104857600", "Cannot allocate memory"});
        expect(submit_many(pool, 48, 1u << 20) >= 16, "what fits has no result");
        pf::test::use(pool);
        // Lifted:
        small.limit_memory(512u << 20);
        auto array = pool.make_shared_array<char>(100u << 20);
        std::fill(array.begin(), array.end(), 'x');
        pf::test::use(pool);
    });
}

TEST_CASE("a ring that doesn't fit into the memory cgroup is refused by the constructor") {
    in_memory_of(64u << 20, [](const own_cgroup& small) {
        const auto make = [] { pf::pool{{.workers = 1, .queue_limit = 500'000}}; };
        expect_error<std::system_error>(make, {"524288 slots", "memory cgroup"});
        small.limit_memory(512u << 20);
        make();
    });
}

TEST_CASE(
    "with a budget of one page, tasks of a page wait for each other, and larger ones are told") {
    CHECK(in_surroundings([] {
              const std::size_t fits = 3000;  // beside its header
              pf::pool pool{{.workers = 2, .memory_budget = 4096}};
              const auto size = [](const std::string& text) { return text.size(); };
              const std::string page(fits, 'x');
              std::vector<pf::future<std::size_t>> all;
              for (int i = 0; i < 100; ++i) all.push_back(pool.submit(size, page));
              for (auto& each : all) expect(each.get_for(30s) == fits, "wrong");
              const auto text = [](std::size_t n) { return std::string(n, 'y'); };
              for (int i = 0; i < 100; ++i) {
                  expect(pool.submit(text, fits).get_for(30s) == text(fits), "wrong");
              }
              expect_error<pf::payload_too_large>(
                  [&] { pool.submit(size, std::string(5000, 'x')).get_for(30s); },
                  {"budget of 4096"});
              expect_error<pf::payload_too_large>(
                  [&] { pool.submit(text, std::size_t{5000}).get_for(60s); }, {"budget of 4096"});
              expect(pool.submit(pf::test::add, 1, 2).get_for(30s) == 3, "small ones fail too");
              pf::test::expect_crash(pool, SIGSEGV);
              expect(pool.submit(size, page).get_for(30s) == fits, "after a crash");
          }) == "");
}

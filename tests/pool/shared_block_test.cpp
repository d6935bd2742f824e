#include "pool/shared_block.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/inline_mode.hpp"
#include "support/leaks.hpp"

namespace pf = prefork;

namespace {

double sum(const pf::shared_array<float>& values) {
    double total = 0;
    for (const float each : values) total += each;
    return total;
}
pf::shared_array<float> doubled(const pf::shared_array<float>& values) {
    auto result = pf::make_shared_array<float>(values.size());
    std::transform(values.begin(), values.end(), result.begin(), [](float x) { return 2 * x; });
    return result;
}

}  // namespace

TEST_CASE("an array travels to a task and back, inline and in workers, and leaves nothing behind") {
    for (const unsigned workers : {pf::inline_workers, 1u, 2u}) {
        CAPTURE(workers);
        const pf::test::leaks none_left;
        pf::pool pool{{.workers = workers}};
        auto array = pool.make_shared_array<float>(100'000);
        CHECK(sum(array) == 0);
        std::fill(array.begin(), array.end(), 1.5f);
        CHECK(pool.submit(sum, array).get() == 150'000);
        const pf::shared_array<float> result = pool.submit(doubled, array).get();
        REQUIRE(result.size() == 100'000);
        CHECK(sum(result) == 300'000);
        CHECK(pool.submit(sum, result).get() == 300'000);
    }
}

TEST_CASE("an array that a task returns as it came is the same array") {
    pf::pool pool{{.workers = 1}};
    const auto array = pool.make_shared_array<float>(10);
    const auto same = pool.submit([](pf::shared_array<float> each) { return each; }, array).get();
    CHECK(same.data() == array.data());
}

TEST_CASE("the memory of an array that nobody holds is used again") {
    pf::pool pool{{.workers = 1, .memory_budget = 16u << 20}};
    for (int i = 0; i < 50; ++i) {
        auto array = pool.make_shared_array<char>(4u << 20);
        array[0] = 'x';
        CHECK(pool.submit([](const pf::shared_array<char>& a) { return a[0]; }, array).get() ==
              'x');
        const auto result = pool.submit([] { return pf::make_shared_array<char>(4u << 20); }).get();
        CHECK(result.size() == 4u << 20);
    }
}

TEST_CASE("a task keeps its arrays although the host has let go of them") {
    pf::pool pool{{.workers = 1}};
    std::vector<pf::future<double>> results;
    for (int i = 0; i < 100; ++i) {
        auto array = pool.make_shared_array<float>(1000);
        std::fill(array.begin(), array.end(), static_cast<float>(i));
        results.push_back(pool.submit(sum, array));
    }
    for (int i = 0; i < 100; ++i) CHECK(results[static_cast<std::size_t>(i)].get() == 1000.0 * i);
}

TEST_CASE("an array outlives the worker that made it, and the pool") {
    const pf::test::leaks none_left;
    pf::shared_array<float> kept;
    pf::future<pf::shared_array<float>> unfetched;
    {
        pf::pool pool{{.workers = 1}};
        auto array = pool.make_shared_array<float>(1000);
        std::fill(array.begin(), array.end(), 1.0f);
        kept = pool.submit(doubled, array).get();
        unfetched = pool.submit(doubled, array);
        unfetched.wait();
        if (!pf::test::inline_mode()) {
            auto lost = pool.submit([] { return ::raise(SIGKILL); });
            REQUIRE_THROWS_AS(lost.get(), pf::worker_lost);
        }
        // Its successor has another part of the memory: nothing is overwritten.
        CHECK(pool.submit(sum, pool.submit(doubled, array).get()).get() == 2000);
        CHECK(sum(kept) == 2000);
    }
    CHECK(sum(kept) == 2000);
    CHECK(sum(unfetched.get()) == 2000);
}

TEST_CASE("a task that writes to its argument dies of it, and the argument is unharmed") {
    if (pf::test::left_out_inline("memory that only the host may write")) return;
    pf::pool pool{{.workers = 1}};
    auto array = pool.make_shared_array<int>(10);
    array[3] = 7;
    const auto write = [](pf::shared_array<int> values) { return values[3] = 8; };
    try {
        pool.submit(write, array).get();
        FAIL("the write went through");
    } catch (const pf::worker_lost& e) {
        CHECK(e.signal() == SIGSEGV);
    }
    CHECK(array[3] == 7);
}

TEST_CASE("an array larger than the budget is an error") {
    pf::pool pool{{.workers = 1, .memory_budget = 1u << 20}};
    REQUIRE_THROWS_AS(pool.make_shared_array<char>(2u << 20), pf::payload_too_large);
    REQUIRE_THROWS_AS(pool.make_shared_array<double>(~std::size_t{0} / 4), pf::payload_too_large);
    auto in_task = pool.submit([] { return pf::make_shared_array<char>(2u << 20); });
    REQUIRE_THROWS_AS(in_task.get(), pf::task_error);
}

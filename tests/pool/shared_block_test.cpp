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

TEST_CASE("an array that only its task still has comes back from it, also after the pool's end") {
    const pf::test::leaks none_left;
    const auto same = [](pf::shared_array<float> each) { return each; };
    pf::future<pf::shared_array<float>> unfetched;
    {
        pf::pool pool{{.workers = 1}};
        CHECK(pool.submit(same, pool.make_shared_array<float>(10)).get().size() == 10);
        unfetched = pool.submit(same, pool.make_shared_array<float>(20));
        unfetched.wait();
    }
    CHECK(unfetched.get().size() == 20);
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

TEST_CASE("an array that lies in private memory is copied on its way to a worker") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    auto made_here = pf::make_shared_array<float>(1000);
    std::fill(made_here.begin(), made_here.end(), 2.0f);
    CHECK(pool.submit(sum, made_here).get() == 2000);
    CHECK(made_here[0] == 2);
    CHECK(pool.submit(sum, pf::make_shared_array<float>(0)).get() == 0);

    pf::pool no_processes{{.workers = pf::inline_workers}};
    const auto made_inline = no_processes.submit(doubled, made_here).get();
    CHECK(pool.submit(sum, made_inline).get() == 4000);
    // By way of arguments that don't fit into a slot, with another one of the same call, and with
    // a retry.
    auto own = pool.make_shared_array<float>(10);
    own[0] = 1;
    const auto sums = [](const std::vector<pf::shared_array<float>>& arrays) {
        double total = 0;
        for (const auto& each : arrays) total += sum(each);
        return total;
    };
    const std::vector<pf::shared_array<float>> many{made_inline, own,         made_here,
                                                    made_inline, made_inline, own};
    CHECK(pool.submit(sums, many).get() == 3 * 4000 + 2000 + 2);
    CHECK(pool.with({.retries = 1}).submit(sum, made_inline).get() == 4000);
    CHECK(pool.map(many, sum).size() == 6);
}

TEST_CASE("an array of another pool is copied, whichever was made first") {
    const pf::test::leaks none_left;
    pf::pool first{{.workers = 1}};
    pf::pool second{{.workers = 1}};
    for (pf::pool* const owner : {&first, &second}) {
        pf::pool& other = owner == &first ? second : first;
        auto array = owner->make_shared_array<float>(100'000);
        std::fill(array.begin(), array.end(), 1.0f);
        CHECK(other.submit(sum, array).get() == 100'000);
        const auto result = owner->submit(doubled, array).get();
        CHECK(other.submit(sum, result).get() == 200'000);
        CHECK(other.submit([](pf::shared_array<float> each) { return each; }, array).get()[9] == 1);
    }
}

TEST_CASE("a copy of an array for a worker counts against the budget") {
    if (pf::test::left_out_inline("a copy")) return;
    const auto large = pf::make_shared_array<char>(2u << 20);
    const auto size = [](const pf::shared_array<char>& a) { return a.size(); };
    pf::pool pool{{.workers = 1, .memory_budget = 1u << 20}};
    REQUIRE_THROWS_AS(pool.submit(size, large), pf::payload_too_large);
    CHECK(pool.submit(size, pf::make_shared_array<char>(10)).get() == 10);
    pf::pool wide{{.workers = 1, .memory_budget = 8u << 20}};
    for (int i = 0; i < 20; ++i) CHECK(wide.submit(size, large).get() == 2u << 20);
}

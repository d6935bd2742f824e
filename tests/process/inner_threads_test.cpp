#include "process/inner_threads.hpp"

#include <omp.h>

#include <algorithm>
#include <csignal>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/sanitizer.hpp"

// With a task that uses OpenMP, and a host that has used it before the fork.

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

/// How many threads a parallel region has here.
int threads() {
    int count = 0;
#pragma omp parallel reduction(+ : count)
    count += 1;
    return count;
}

}  // namespace

TEST_CASE("a task's OpenMP has its share of the CPUs, so that workers and threads don't multiply") {
    const unsigned usable = pf::usable_cpus();
    for (const unsigned workers : {1u, 2u, 4u}) {
        CAPTURE(workers, usable);
        const pf::test::leaks none_left;
        pf::pool pool{{.workers = workers}};
        const int share = static_cast<int>(std::max(1u, usable / workers));
        for (unsigned i = 0; i < 2 * workers; ++i) {
            CHECK(pool.submit(threads).get_for(20s) == share);
        }
    }
}

TEST_CASE("inner_threads is how many threads a task's OpenMP has") {
    for (const unsigned allowed : {1u, 2u, 3u}) {
        CAPTURE(allowed);
        const pf::test::leaks none_left;
        pf::pool pool{{.workers = 2, .inner_threads = allowed}};
        for (int i = 0; i < 4; ++i) {
            CHECK(pool.submit(threads).get_for(20s) == static_cast<int>(allowed));
        }
    }
}

// gcc's OpenMP keeps its threads between regions; the fork doesn't copy them.
TEST_CASE("a host may have used OpenMP before it makes a pool, and may go on with it") {
    omp_set_num_threads(3);
    REQUIRE(threads() == 3);
    for (const unsigned allowed : {1u, 2u, 3u, 4u}) {
        CAPTURE(allowed);
        pf::pool pool{{.workers = 1, .inner_threads = allowed}};
        for (int i = 0; i < 2; ++i) {
            REQUIRE(pool.submit(threads).get_for(20s) == static_cast<int>(allowed));
        }
        CHECK(threads() == 3);
        // A worker that is forked while the host's threads are there has none of them either.
        auto lost = pool.submit([] { return ::raise(SIGKILL); });
        REQUIRE_THROWS_AS(lost.get_for(20s), pf::worker_lost);
        REQUIRE(pool.submit(threads).get_for(20s) == static_cast<int>(allowed));
    }
}

TEST_CASE("a pool made inside a parallel region works") {
    if (pf::test::fork_loses_heap_locks()) return;
    std::vector<int> answers(2);
#pragma omp parallel for num_threads(2)
    for (int i = 0; i < 2; ++i) {
        pf::pool pool{{.workers = 1, .inner_threads = 1}};
        answers[static_cast<std::size_t>(i)] = pool.submit(threads).get();
    }
    CHECK(answers == std::vector<int>{1, 1});
}

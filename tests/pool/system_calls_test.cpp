#include <cstdio>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/sanitizer.hpp"
#include "support/task_cost.hpp"

// What a task costs its caller and its worker; bench/task_cost_bench.cpp shows the same figures.

namespace pf = prefork;
namespace task_cost = pf::test::task_cost;
using pf::test::cost;

namespace {

// Prints what was counted, and holds it to twice the instructions that are measured with gcc 12 at
// -O3; what isn't optimised, or has checks built in, has no ceiling.
void check(const char* what, cost counted, unsigned system_calls, unsigned instructions) {
    std::printf("%s: %u instructions, %u system calls\n", what, counted.instructions,
                counted.system_calls);
    CHECK(counted.system_calls == system_calls);
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
    CHECK(counted.instructions <= 2 * instructions);
#else
    static_cast<void>(instructions);
#endif
}

/// Ends the program as skipped where nothing can be counted.
void require_counting() {
    pf::test::require_stepping();
    if (!pf::test::sanitized()) return;
    std::puts("left out with a sanitizer: its instructions are not ours");
    std::fflush(stdout);
    ::_exit(77);
}

}  // namespace

TEST_CASE("submit() to workers that sleep is one system call, to one that looks for it none") {
    require_counting();
    check("submit, the worker sleeps", task_cost::of_submit(pf::idle::park), 1, 654);
    check("submit, the worker looks", task_cost::of_submit(pf::idle::spin), 0, 530);
}

TEST_CASE("a result that is there is fetched without a system call") {
    require_counting();
    check("get, the result is there", task_cost::of_get(), 0, 459);
}

TEST_CASE("a burst costs its submitter one system call, however long it is") {
    require_counting();
    constexpr int length = 16;
    check("submit, sixteen times", task_cost::of_burst(length), 1, length * 584);
}

TEST_CASE("a worker that looks for tasks takes and ends one without a system call") {
    require_counting();
    check("worker, a task that it looks for", task_cost::of_polling_worker(), 0, 552);
}

TEST_CASE("a worker that sleeps wakes, runs a task and sleeps again with one system call") {
    require_counting();
    check("worker, from one sleep to the next", task_cost::of_sleeping_worker(), 1, 1101);
}

TEST_CASE("a task writes so many cache lines of shared memory, and no more") {
    const auto lines = task_cost::of_lines();
    std::printf("cache lines: submit %zu, worker %zu, get %zu\n", lines.by_submit, lines.by_worker,
                lines.by_get);
    CHECK(lines.by_submit <= 3);  // the slot's two, and the tail
    CHECK(lines.by_worker <= 5);  // the slot's first, the head, and its journal
    CHECK(lines.by_get <= 1);
}

#include <pthread.h>

#include <atomic>
#include <vector>

#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/sanitizer.hpp"
#include "support/surroundings.hpp"

// docs/surroundings.md, "threads": many more than there are workers, slots or CPUs.

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

constexpr int rounds = 3;
constexpr std::size_t stack_bytes = 128 * 1024;

struct shared_by_all {
    pf::pool* pool;
    std::atomic<int> next_thread{0};
    std::atomic<int> right{0};
    std::atomic<int> refused{0};
};

// Each result is the thread's own: a number that no other asks for.
void* submit_all(void* argument) {
    auto& all = *static_cast<shared_by_all*>(argument);
    const int self = all.next_thread++;
    for (int round = 0; round < rounds;) {
        try {
            const int number = self * rounds + round;
            all.right += all.pool->submit(pf::test::add, number, 1).get_for(60s) == number + 1;
            ++round;
        } catch (const pf::queue_full&) {
            ++all.refused;
        } catch (...) {
            return nullptr;  // the count says so
        }
    }
    return nullptr;
}

/// With a sanitizer, whose threads are ten times as dear, 100.
int thread_count() { return pf::test::sanitized() ? 100 : 1000; }

void submit_from_all(shared_by_all& all) {
    pthread_attr_t small;
    REQUIRE(::pthread_attr_init(&small) == 0);
    REQUIRE(::pthread_attr_setstacksize(&small, stack_bytes) == 0);
    std::vector<pthread_t> threads(static_cast<std::size_t>(thread_count()));
    for (pthread_t& each : threads) {
        REQUIRE(::pthread_create(&each, &small, submit_all, &all) == 0);
    }
    for (const pthread_t each : threads) ::pthread_join(each, nullptr);
    ::pthread_attr_destroy(&small);
    CHECK(all.right == thread_count() * rounds);
}

}  // namespace

TEST_CASE(
    "1,000 threads submit to the smallest ring, wait for room, and each has its own results") {
    const pf::test::leaks none_left;
    // Four slots: room for one task that waits, and the worker's.
    pf::pool pool{{.workers = 1, .memory_budget = 4096, .queue_limit = 1}};
    shared_by_all all{&pool};
    submit_from_all(all);
    CHECK(all.refused == 0);
    CHECK(pool.stats().completed == static_cast<std::uint64_t>(thread_count() * rounds));
}

TEST_CASE(
    "1,000 threads that are refused when the ring is full have lost nothing once they go on") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .queue_limit = 1, .when_full = pf::overflow::fail}};
    shared_by_all all{&pool};
    submit_from_all(all);
}

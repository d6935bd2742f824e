#include "base/futex.hpp"

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

using namespace std::chrono_literals;
using prefork::base::futex_result;
using prefork::base::futex_wait;
using prefork::base::futex_wake;
using prefork::base::monotonic;
using prefork::base::never;
using prefork::test::until;

namespace {

using word = std::atomic<std::uint32_t>;

// Waits as a caller should: until the word has changed, whatever the reason for returning was.
void wait_for_change(const word& of, std::uint32_t from) {
    while (of.load() == from) futex_wait(&of, from, never);
}

}  // namespace

TEST_CASE("a word that has changed already is not waited for") {
    const word of{1};
    CHECK(futex_wait(&of, 0, never) == futex_result::changed);
}

TEST_CASE("a wait ends at its deadline, and not before") {
    const word of{0};
    const auto deadline = monotonic::now() + 20ms;
    futex_result result{};
    do {
        result = futex_wait(&of, 0, deadline);
    } while (result == futex_result::woken);  // spurious
    CHECK(result == futex_result::timed_out);
    CHECK(monotonic::now() >= deadline);
    CHECK(monotonic::now() < deadline + 10s);
}

TEST_CASE("a deadline in the past ends the wait at once") {
    const word of{0};
    CHECK(futex_wait(&of, 0, monotonic::now() - 1s) == futex_result::timed_out);
    CHECK(futex_wait(&of, 0, prefork::base::time_point{}) == futex_result::timed_out);
}

TEST_CASE("waking when nobody waits wakes nobody") {
    const word of{0};
    CHECK(futex_wake(&of, 1) == 0);
}

TEST_CASE("as many are woken as were asked for") {
    const prefork::test::leaks guard;
    word of{0};
    std::vector<std::thread> threads;
    std::atomic<int> awake{0};
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            // One wait each: who is woken while the word is as it was counts too.
            while (futex_wait(&of, 0, monotonic::now() + 10s) == futex_result::timed_out) {
            }
            ++awake;
        });
    }
    int woken = 0;
    CHECK(until([&] { return (woken += futex_wake(&of, 1)) == 1; }));
    CHECK(until([&] { return awake.load() >= 1; }));
    CHECK(until([&] { return (woken += futex_wake(&of, 3 - woken)) == 3; }));
    CHECK(until([&] { return awake.load() == 3; }));
    for (std::thread& each : threads) each.join();
}

TEST_CASE("a wake reaches a waiter in another process") {
    const prefork::test::leaks guard;
    void* const memory =
        ::mmap(nullptr, sizeof(word), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    auto* const of = new (memory) word{0};
    const pid_t child = prefork::test::fork_child([&] {
        wait_for_change(*of, 0);
        return static_cast<int>(of->load());
    });
    // It sleeps on the word, which has not changed: the wake alone can't end that.
    CHECK(until([&] { return futex_wake(of, 1) == 1; }));
    CHECK(until([&] { return futex_wake(of, 1) == 1; }));
    of->store(7);
    futex_wake(of, 1);
    CHECK(prefork::test::wait_for_child(child) == prefork::test::child_end{7, 0});
    ::munmap(memory, sizeof(word));
}

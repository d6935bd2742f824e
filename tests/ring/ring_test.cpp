#include "ring/ring.hpp"

#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "base/futex.hpp"
#include "support/catch.hpp"
#include "support/ring_memory.hpp"
#include "support/sleeps.hpp"
#include "support/until.hpp"

namespace base = prefork::base;
namespace test = prefork::test;
using namespace prefork::ring;

namespace {

/// Publishes `count` tasks from `next`, whose function is their position.
void publish(prefork::ring::ring& tasks, std::uint64_t& next, unsigned count) {
    for (unsigned i = 0; i < count; ++i, ++next) {
        tasks.at(next).function = next;
        tasks.publish(next);
    }
}

/// What publish() has done when the host's thread loses its CPU after the first of its two stores.
void half_publish(prefork::ring::ring& tasks, std::uint64_t position) {
    tasks.at(position).word.store(slot_word::ready(position, 0).bits());
}

}  // namespace

TEST_CASE("tasks are claimed in the order of publication") {
    test::ring_memory memory{16};
    prefork::ring::ring tasks = memory.make();
    claimer worker{tasks, 1};
    std::uint64_t next = 0;
    publish(tasks, next, 5);
    for (std::uint64_t i = 0; i < 5; ++i) {
        const auto task = worker.try_claim();
        REQUIRE(task);
        CHECK(task->position == i);
        CHECK(tasks.at(i).function == i);
        CHECK(tasks.word(i).owner() == 1);
        CHECK(tasks.commit(i, task->word) == commit_result::done);
        CHECK(tasks.word(i).state() == state::done);
    }
    CHECK_FALSE(worker.try_claim());
}

TEST_CASE("a slot that is still occupied is skipped and holds up nothing but itself") {
    test::ring_memory memory{4};
    prefork::ring::ring tasks = memory.make();
    claimer slow{tasks, 1};
    claimer quick{tasks, 2};
    std::uint64_t next = 0;
    publish(tasks, next, 1);
    const auto held = slow.try_claim();
    REQUIRE(held);
    for (int round = 0; round < 10; ++round) {
        if (next % 4 == 0) ++next;  // the host knows that slot 0 is taken
        const std::uint64_t position = next;
        publish(tasks, next, 1);
        const auto task = quick.try_claim();
        REQUIRE(task);
        CHECK(task->position == position);
        REQUIRE(tasks.commit(position, task->word) == commit_result::done);
        tasks.free(position);
    }
    CHECK(tasks.commit(held->position, held->word) == commit_result::done);
}

TEST_CASE("a task put back is claimed before newer ones, as another attempt") {
    test::ring_memory memory{16};
    prefork::ring::ring tasks = memory.make();
    claimer dead{tasks, 1};
    claimer alive{tasks, 2};
    std::uint64_t next = 0;
    publish(tasks, next, 4);
    const auto first = dead.try_claim();
    REQUIRE(first);
    REQUIRE(tasks.put_back(first->word, 1));
    const auto again = alive.try_claim();
    REQUIRE(again);
    CHECK(again->position == first->position);
    CHECK(again->word.attempt() == 1);
    CHECK(tasks.commit(first->position, first->word) == commit_result::refused);
    CHECK(tasks.commit(again->position, again->word) == commit_result::done);
}

TEST_CASE("more tasks put back than there are retry entries are all claimed again") {
    test::ring_memory memory{64};
    prefork::ring::ring tasks = memory.make();
    claimer dead{tasks, 1};
    std::uint64_t next = 0;
    publish(tasks, next, 40);
    std::vector<claimed_task> held;
    for (int i = 0; i < 40; ++i) held.push_back(dead.try_claim().value());
    for (const auto& task : held) REQUIRE(tasks.put_back(task.word, 1));
    claimer alive{tasks, 2};
    std::vector<bool> seen(40, false);
    while (auto task = alive.try_claim()) seen.at(task->position) = true;
    CHECK(std::count(seen.begin(), seen.end(), true) == 40);
}

TEST_CASE("a reservation lost with its worker is found again after recovery") {
    test::ring_memory memory{16};
    prefork::ring::ring tasks = memory.make();
    claimer dead{tasks, 1};
    CHECK_FALSE(dead.poll(1));  // reserves position 0 and marks it awaited
    CHECK(tasks.word(0).state() == state::awaited);
    std::uint64_t next = 0;
    publish(tasks, next, 1);
    claimer alive{tasks, 2};
    CHECK_FALSE(alive.try_claim());  // it reserved position 1
    tasks.recover(1, 0);
    CHECK_FALSE(alive.give_up_reservation());
    const auto task = alive.try_claim();
    REQUIRE(task);
    CHECK(task->position == 0);
}

TEST_CASE("a task that a stopped worker has reserved is found by another when it is recalled") {
    for (const bool low : {false, true}) {
        CAPTURE(low);
        test::ring_memory memory{16};
        prefork::ring::ring tasks = memory.make();
        claimer stopped{tasks, 1};
        claimer other{tasks, 2};
        REQUIRE_FALSE(stopped.try_claim());  // position 0 is its own from here on
        tasks.publish(0, low ? priority::low : priority::normal);
        // As if it had stopped between taking the low queue's entry and taking the task.
        if (low) memory.hints().low.head.store(1);
        REQUIRE_FALSE(other.try_claim());
        CHECK_FALSE(other.give_up_reservation());  // it sleeps
        tasks.recall(0, tasks.word(0));
        const auto task = other.try_claim();
        REQUIRE(task);
        CHECK(task->position == 0);
        CHECK_FALSE(stopped.try_claim());
    }
}

TEST_CASE("publishing to a slot that a worker polls wakes nobody") {
    test::ring_memory memory{16};
    prefork::ring::ring tasks = memory.make();
    claimer searching{tasks, 1};
    CHECK_FALSE(searching.poll(1));
    memory.hints().idle[0] = 0b10;  // seat 1 sleeps
    CHECK(tasks.publish(0) == attention::polled);
    CHECK(memory.bed(1).wakes == 0);
}

TEST_CASE("a burst wakes one sleeper, and that one wakes the next two") {
    test::ring_memory memory{16};
    prefork::ring::ring tasks = memory.make();
    memory.hints().idle[0] = 0b11110;  // seats 1 to 4 sleep
    std::uint64_t next = 0;
    publish(tasks, next, 10);
    CHECK(memory.bed(1).wakes == 1);
    CHECK(memory.bed(2).wakes == 0);
    claimer woken{tasks, 2};
    REQUIRE(woken.try_claim());
    CHECK(memory.bed(2).wakes == 1);
    CHECK(memory.bed(3).wakes == 1);
    CHECK(memory.bed(4).wakes == 0);
}

TEST_CASE("a worker that finds work after setting its idle bit does not sleep") {
    test::ring_memory memory{16};
    prefork::ring::ring tasks = memory.make();
    claimer worker{tasks, 1};
    CHECK_FALSE(worker.poll(1));
    std::uint64_t next = 0;
    publish(tasks, next, 1);
    CHECK(worker.park(base::never));  // returns at once, or the test hangs into its limit
    CHECK(memory.hints().idle[0] == 0);
}

TEST_CASE("every task is claimed once by many workers, with sleeps and polls between") {
    constexpr std::uint64_t count = 200'000;
    constexpr unsigned workers = 4;
    test::ring_memory memory{256};
    prefork::ring::ring tasks = memory.make();
    std::vector<std::atomic<int>> runs(count);
    std::vector<std::uint64_t> function_of(count);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned owner = 1; owner <= workers; ++owner) {
        threads.emplace_back([&, owner] {
            claimer worker{tasks, owner};
            while (!stop) {
                auto task = worker.poll(owner * 20);
                if (!task) {
                    task = worker.park(base::monotonic::now() + std::chrono::seconds(5));
                    if (!task) continue;
                }
                ++runs[tasks.at(task->position).function];
                static_cast<void>(tasks.commit(task->position, task->word));
            }
        });
    }
    std::uint64_t position = 0;
    for (std::uint64_t i = 0; i < count; ++i, ++position) {
        // A slot is free when it is empty, polled, or done.
        REQUIRE(test::until([&] {
            const state now = tasks.word(position).state();
            if (now == state::done) tasks.free(position);
            return now == state::empty || now == state::awaited || now == state::done;
        }));
        tasks.at(position).function = i;
        tasks.publish(position);
    }
    for (std::uint64_t i = 0; i < count; ++i) REQUIRE(test::until([&] { return runs[i] == 1; }));
    stop = true;
    for (unsigned seat = 0; seat < workers; ++seat) tasks.beds().wake_seat(seat);
    for (auto& thread : threads) thread.join();
    for (std::uint64_t i = 0; i < count; ++i) REQUIRE(runs[i] == 1);
}

TEST_CASE("tasks of high priority are claimed first, of low last, each in their order") {
    prefork::test::ring_memory memory{16};
    ring tasks = memory.make();
    claimer worker{tasks, 1};
    const priority as[] = {priority::low,  priority::normal, priority::high,  priority::low,
                           priority::high, priority::normal, priority::normal};
    for (std::uint64_t i = 0; i < std::size(as); ++i) tasks.publish(i, as[i]);
    std::vector<std::uint64_t> claimed;
    while (const auto task = worker.try_claim()) {
        claimed.push_back(task->position);
        REQUIRE(tasks.commit(task->position, task->word) == commit_result::done);
    }
    CHECK(claimed == std::vector<std::uint64_t>{2, 4, 1, 5, 6, 0, 3});
}

TEST_CASE("a task of low priority whose claimer died between entry and claim is found again") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer worker{tasks, 1};
    tasks.publish(0, priority::low);
    tasks.publish(1, priority::low);
    memory.hints().low.head = 2;  // both entries were taken, neither task
    CHECK_FALSE(worker.try_claim());
    tasks.recover(2, 0);
    CHECK(worker.try_claim()->position == 0);
    CHECK(worker.try_claim()->position == 1);
    CHECK_FALSE(worker.try_claim());
}

TEST_CASE("a task of low priority that is put back is still claimed, and first") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer worker{tasks, 1};
    tasks.publish(0, priority::low);
    const auto task = worker.try_claim();
    REQUIRE(task);
    tasks.publish(1);
    REQUIRE(tasks.put_back(task->word, 1));
    const auto again = worker.try_claim();
    REQUIRE(again);
    CHECK(again->position == 0);
    CHECK_FALSE(again->word.is_low());  // of no queue any more, so that it can be found from head
    CHECK(worker.try_claim()->position == 1);
}

TEST_CASE("entries of tasks that were given up lead nowhere, and a full queue is no loss") {
    prefork::test::ring_memory memory{4};
    ring tasks = memory.make();
    claimer worker{tasks, 1};
    for (std::uint64_t i = 0; i < 10; ++i) {
        tasks.publish(i, priority::low);
        slot_word word = tasks.word(i);
        REQUIRE(tasks.change(i, word, word.with(state::cancelled)));
        tasks.free(i);
    }
    tasks.publish(10, priority::low);
    CHECK(worker.try_claim()->position == 10);
    CHECK_FALSE(worker.try_claim());
}

TEST_CASE("a task published where a worker polled isn't held up by one that it takes first") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer busy{tasks, 1};
    claimer other{tasks, 2};
    tasks.publish(0);
    const auto lost = busy.try_claim();
    REQUIRE(lost);
    CHECK_FALSE(busy.poll(2));  // now polls position 1
    REQUIRE(tasks.put_back(lost->word, 1));
    CHECK(tasks.publish(1) == attention::polled);
    CHECK(busy.try_claim()->position == 1);  // its publication has woken nobody else
    const auto next = other.try_claim();
    REQUIRE(next);
    CHECK(next->position == 0);
}

// The next four were found by tests/model: each left a task waiting beside sleeping workers.

TEST_CASE("a worker doesn't sleep when a task is published where it polled, just as it stops") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer worker{tasks, 1};
    CHECK_FALSE(worker.poll(1));
    half_publish(tasks, 0);
    const auto task = worker.park(base::monotonic::now() + std::chrono::seconds(10));
    REQUIRE(task);
    CHECK(task->position == 0);
}

TEST_CASE("a task published where a worker polled is claimed before any that is out of turn") {
    for (const priority as : {priority::low, priority::high}) {
        prefork::test::ring_memory memory{8};
        ring tasks = memory.make();
        claimer busy{tasks, 1};
        CHECK_FALSE(busy.poll(1));
        tasks.publish(1, as);
        half_publish(tasks, 0);  // as polled: it wakes nobody
        const auto first = busy.try_claim();
        REQUIRE(first);
        CHECK(first->position == 0);
        CHECK(busy.try_claim()->position == 1);
    }
}

TEST_CASE("no slot stays polled of a position that the host has skipped") {
    prefork::test::ring_memory memory{2};
    ring tasks = memory.make();
    claimer slow{tasks, 1};
    claimer worker{tasks, 2};
    tasks.publish(0);
    const auto held = slow.try_claim();
    REQUIRE(held);
    tasks.publish(1);
    const auto quick = worker.try_claim();
    REQUIRE(quick);
    REQUIRE(tasks.commit(1, quick->word) == commit_result::done);
    tasks.free(1);
    CHECK_FALSE(worker.try_claim());  // reserves 2, whose slot is taken, so the host skips it
    REQUIRE(tasks.commit(0, held->word) == commit_result::done);
    tasks.free(0);
    CHECK_FALSE(worker.poll(1));  // marks the slot: tail doesn't tell yet that it was skipped
    CHECK(tasks.word(2).state() == state::awaited);
    CHECK(tasks.publish(3) == attention::awake);
    CHECK(worker.try_claim()->position == 3);
    CHECK(tasks.word(4).state() == state::empty);
}

TEST_CASE("a worker marks only the slot that it has reserved") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer other{tasks, 1};
    claimer worker{tasks, 2};
    CHECK_FALSE(other.try_claim());   // reserves 0
    CHECK_FALSE(worker.try_claim());  // reserves 1
    CHECK_FALSE(other.give_up_reservation());
    tasks.publish(0);
    const auto task = worker.poll(2);
    REQUIRE(task);
    CHECK(task->position == 0);
    CHECK(tasks.word(1).state() == state::empty);
}

TEST_CASE("a worker whose waker died before the call is woken by recovery") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    memory.hints().idle[0] = 0;  // seat 1 sleeps; the dead worker, seat 0, has cleared its bit
    tasks.recover(1, 0);
    CHECK(memory.bed(1).wakes == 1);
}

TEST_CASE("a commit wakes every thread that waits for the task") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer worker{tasks, 1};
    tasks.publish(0);
    const auto task = worker.try_claim();
    REQUIRE(task);
    slot_word word = task->word;
    REQUIRE(tasks.change(0, word, word.with_waited(true)));
    std::atomic<int> woken{0};
    std::vector<pid_t> ids(2);
    std::vector<std::thread> waiters;
    for (unsigned i = 0; i < 2; ++i) {
        waiters.emplace_back([&, i] {
            std::atomic_ref{ids[i]} = ::gettid();
            woken += base::futex_wait(tasks.at(0).futex(), word.with_waited(true).low_half(),
                                      base::monotonic::now() + std::chrono::seconds(10)) ==
                     base::futex_result::woken;
        });
    }
    for (pid_t& id : ids) REQUIRE(test::until([&] { return test::sleeps(std::atomic_ref{id}); }));
    CHECK(tasks.commit(0, task->word) == commit_result::done);
    for (std::thread& each : waiters) each.join();
    CHECK(woken == 2);
}

TEST_CASE("a task that is as old as several laps is put back at most a lap before the tail") {
    prefork::test::ring_memory memory{8};
    ring tasks = memory.make();
    claimer slow{tasks, 1};
    claimer quick{tasks, 2};
    tasks.publish(0, priority::low);
    const auto old = slow.try_claim();
    REQUIRE(old);
    // The low queue, too, goes round: the old task's entry is another's.
    for (std::uint64_t i = 1; i < 100; ++i) {
        if (i % 8 == 0) continue;
        tasks.publish(i, priority::low);
        const auto task = quick.try_claim();
        REQUIRE(task);
        REQUIRE(tasks.commit(task->position, task->word) == commit_result::done);
        tasks.free(i);
    }
    CHECK(tasks.in_last_lap(0, 100) == 96);
    CHECK(tasks.in_last_lap(93, 100) == 93);
    for (auto& entry : memory.hints().retry) entry = 1 + 96;  // taken, so that it goes by head
    REQUIRE(tasks.put_back(old->word, 1));
    for (auto& entry : memory.hints().retry) entry = 0;
    CHECK(memory.hints().head >= 92);
    const auto again = quick.try_claim();
    REQUIRE(again);
    CHECK(again->position == 0);
}

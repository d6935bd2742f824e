#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <coroutine>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

// Hearing of results without waiting for one: callbacks, coroutines, the first of several; and
// without exceptions.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::until;

namespace {

int twice(int x) { return 2 * x; }
int forever() {
    for (;;) ::pause();
}
int refuse(int x) { throw std::out_of_range("refused " + std::to_string(x)); }
std::unique_ptr<int> owned(int x) { return std::make_unique<int>(x); }

/// A coroutine that runs at once, and whose end is seen from outside.
struct routine {
    struct promise_type {
        routine get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

routine sum_of(pf::pool& pool, int a, int b, int& sum) {
    const int first = co_await pool.submit(twice, a);
    sum = first + co_await pool.submit(twice, b);
}
routine message_of(pf::future<int> task, std::string& message) {
    try {
        co_await std::move(task);
    } catch (const std::exception& e) {
        message = e.what();
    }
}

}  // namespace

TEST_CASE("when_any says which of several has ended, of several pools too") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .grace = 0ms}};
    pf::pool other{{.workers = 1, .grace = 0ms}};
    std::vector<pf::future<int>> tasks;
    tasks.push_back(pool.submit(forever));
    CHECK_FALSE(pf::when_any_for(tasks, 1ms));
    tasks.push_back(other.submit(forever));
    tasks.push_back(pool.submit(twice, 1));
    CHECK(pf::when_any(tasks) == 2);
    CHECK(tasks[2].get() == 2);
    tasks.pop_back();
    std::thread canceller{[&] { tasks[1].cancel(); }};
    CHECK(pf::when_any_for(tasks, 10s) == 1u);
    canceller.join();
    auto number = pool.submit(twice, 4);
    auto text = pool.submit([](std::string s) { return s; }, "x");
    const auto which = pf::when_any(number, text);
    CHECK((which == 0 ? number.ready() : text.ready()));
    pf::when_all(number, text);
    CHECK((number.ready() && text.ready()));
    CHECK_FALSE(pf::when_any_for(std::vector<pf::future<int>>{}, 1s));
}

TEST_CASE("a worker that dies tells when_any too") {
    pf::pool pool{{.workers = 1}};
    std::vector<pf::future<int>> tasks;
    tasks.push_back(pool.submit([] { return ::raise(SIGKILL); }));
    CHECK(pf::when_any_for(tasks, 10s) == 0u);
    REQUIRE_THROWS_AS(tasks[0].get(), pf::worker_lost);
}

TEST_CASE("poll() calls what wants to hear, in each of its forms, and says when all is done") {
    for (const unsigned workers : {1u, pf::inline_workers}) {
        pf::pool pool{{.workers = workers}};
        CHECK(pool.poll());
        std::vector<int> heard;
        auto mine = pool.submit(twice, 1);
        mine.on_ready([&] { heard.push_back(mine.get()); });
        pool.submit(twice, 2).on_ready([&](pf::future<int> task) { heard.push_back(task.get()); });
        pool.submit(twice, 3).on_ready([&](pf::future<int>& task) { heard.push_back(task.get()); });
        pool.submit(refuse, 4).on_ready([&](const pf::expected<int>& result) {
            heard.push_back(result.value_or(8));
            CHECK(result.error().kind() == pf::failure_kind::task_error);
        });
        pool.submit(twice, 5).on_ready([&] { heard.push_back(10); });  // its future is gone
        CHECK(heard.empty());
        REQUIRE(until([&] { return pool.poll(); }));
        std::sort(heard.begin(), heard.end());
        CHECK(heard == std::vector{2, 4, 6, 8, 10});
    }
}

TEST_CASE("what a callback throws comes out of poll(), and the others are called by the next") {
    pf::pool pool{{.workers = 1}};
    int called = 0;
    for (int i = 0; i < 3; ++i) {
        pool.submit(twice, i).on_ready([&] {
            if (++called == 1) throw std::runtime_error("in a callback");
        });
    }
    pool.drain();
    REQUIRE_THROWS_WITH(pool.poll(), "in a callback");
    REQUIRE(until([&] { return pool.poll(); }));
    CHECK(called == 3);
}

TEST_CASE("an epoll loop hears of results by the event descriptor, and of nothing else") {
    pf::pool pool{{.workers = 2}};
    const pf::base::unique_fd loop{::epoll_create1(EPOLL_CLOEXEC)};
    epoll_event event{EPOLLIN, {}};
    REQUIRE(::epoll_ctl(loop.get(), EPOLL_CTL_ADD, pool.event_fd(), &event) == 0);
    CHECK(::epoll_wait(loop.get(), &event, 1, 0) == 0);
    CHECK(pool.submit(twice, 1).get() == 2);  // nobody asked to hear of it
    CHECK(::epoll_wait(loop.get(), &event, 1, 0) == 0);
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
        pool.submit(twice, i).on_ready([&](pf::future<int> task) { sum += task.get(); });
    }
    while (!pool.poll()) REQUIRE(::epoll_wait(loop.get(), &event, 1, 10'000) == 1);
    CHECK(sum == 9900);
}

TEST_CASE("coroutines wait for tasks, and poll() resumes them") {
    for (const unsigned workers : {2u, pf::inline_workers}) {
        pf::pool pool{{.workers = workers}};
        int sum = 0;
        std::string message;
        sum_of(pool, 3, 4, sum);
        message_of(pool.submit(refuse, 7), message);
        REQUIRE(until([&] { return pool.poll(); }));
        CHECK(sum == 14);
        CHECK(message == "refused 7");
    }
}

TEST_CASE("a coroutine that waits when the pool ends is told so") {
    const pf::test::leaks none_left;
    std::string waiting;
    std::string later;
    pf::future<int> kept;
    {
        pf::pool pool{{.workers = 1, .grace = 0ms}};
        message_of(pool.submit(forever), waiting);
        kept = pool.submit(forever);
    }
    CHECK(waiting == "pool 'prefork' was shut down");
    message_of(std::move(kept), later);
    CHECK(later == "pool 'prefork' was shut down");
}

TEST_CASE("try_submit takes what there is room for, and never waits") {
    for (const auto when_full : {pf::overflow::wait, pf::overflow::run_inline}) {
        pf::pool pool{{.workers = 1, .queue_limit = 4, .when_full = when_full, .grace = 0ms}};
        auto stuck = pool.submit(forever);
        std::vector<pf::future<int>> taken;
        std::optional<pf::future<int>> one;
        while ((one = pool.try_submit(twice, 21))) taken.push_back(std::move(*one));
        CHECK(taken.size() >= 3);  // the first may not have been claimed yet
        CHECK(taken.size() <= 6);
        stuck.cancel();
        for (auto& each : taken) CHECK(each.get_for(10s) == 42);
        CHECK(pool.try_submit(twice, 4)->get_for(10s) == 8);
    }
}

TEST_CASE("what else is wrong with a task that is tried is its result") {
    pf::pool pool{{.workers = 1, .memory_budget = 1 << 20}};
    auto too_large =
        pool.try_submit([](std::string s) { return s.size(); }, std::string(4 << 20, 'x'));
    REQUIRE(too_large);
    CHECK(too_large->result().error().kind() == pf::failure_kind::payload_too_large);
    pool.shutdown(1s);
    auto closed = pool.try_submit(twice, 1);
    REQUIRE(closed);
    CHECK(closed->result().error().kind() == pf::failure_kind::pool_closed);
}

TEST_CASE("a detached task runs, drain() waits for it, and nothing is kept of it") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    {
        pf::pool pool{{.workers = 1, .keep_fds = {ends[1]}}};
        for (int i = 0; i < 100; ++i) {
            pool.detach([](int fd) { static_cast<void>(!::write(fd, "x", 1)); }, ends[1]);
        }
        pool.drain();
        char bytes[200];
        CHECK(::read(ends[0], bytes, sizeof bytes) == 100);
        CHECK(pool.stats().completed == 100);
    }
    for (const int fd : ends) ::close(fd);
}

TEST_CASE("result() gives the value, or what get() would have thrown, with its details") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    auto value = pool.submit(twice, 4).result();
    REQUIRE(value);
    CHECK(*value == 8);
    CHECK(**pool.submit(owned, 3).result() == 3);
    CHECK(pool.submit([] {}).result().has_value());

    const auto refused = pool.submit(refuse, 1).result();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind() == pf::failure_kind::task_error);
    CHECK(refused.error().type_name() == "std::out_of_range");
    CHECK(refused.error().what() == "refused 1");
    REQUIRE_THROWS_AS(refused.value(), std::out_of_range);

    const auto lost =
        pool.with({.label = "crash"}).submit([] { return ::raise(SIGKILL); }).result();
    CHECK(lost.error().kind() == pf::failure_kind::worker_lost);
    CHECK(lost.error().details().signal == SIGKILL);
    CHECK(lost.error().details().label == "crash");

    const auto late = pool.with({.timeout = 5ms}).submit(forever).result();
    CHECK(late.error().kind() == pf::failure_kind::task_timeout);
    CHECK_THAT(late.error().stack_trace(), pf::test::containing("forever"));
    const auto expired =
        pool.with({.deadline = std::chrono::steady_clock::now()}).submit(twice, 1).result();
    CHECK(expired.error().kind() == pf::failure_kind::task_expired);

    pf::future<int> fetched = pool.submit(twice, 1);
    CHECK(fetched.get() == 2);
    const auto again = fetched.result();
    CHECK(again.error().kind() == pf::failure_kind::invalid_argument);
}

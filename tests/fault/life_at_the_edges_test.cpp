#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"

// Where a pool's life begins and ends in unusual places. What ends by exit() is a program of its
// own here: a child that ends by exit(), not by _exit() as in_child() does.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::child_end;

namespace {

int twice(int x) { return 2 * x; }
int forever() {
    for (;;) ::pause();
}

/// Runs `body` in a process of its own, which then returns from main, as it were; its end.
template <class Body>
child_end program(Body body) {
    std::cout.flush();
    return pf::test::in_child([&] {
        std::exit(body());
        return 98;
    });
}

/// Processes that still have `fd`, a pipe's only writing end but ours, are seen by its reader.
class witness {
  public:
    witness() { REQUIRE(::pipe(ends_) == 0); }
    ~witness() {
        ::close(ends_[0]);
        if (ends_[1] >= 0) ::close(ends_[1]);
    }
    witness(const witness&) = delete;
    witness& operator=(const witness&) = delete;

    [[nodiscard]] int fd() const { return ends_[1]; }
    void say(const char* word) const {
        static_cast<void>(!::write(ends_[1], word, std::char_traits<char>::length(word)));
    }
    /// What was said, once nobody has the writing end any more; "hangs: …" if somebody keeps it.
    [[nodiscard]] std::string all_said() {
        ::close(std::exchange(ends_[1], -1));
        std::string all;
        for (;;) {
            if (!pf::base::wait_readable(ends_[0], pf::base::monotonic::now() + 10s)) {
                return "hangs: " + all;
            }
            char some[256];
            const ssize_t size = ::read(ends_[0], some, sizeof some);
            if (size <= 0) return all;
            all.append(some, static_cast<std::size_t>(size));
        }
    }

  private:
    int ends_[2] = {-1, -1};
};

template <class Error, class Call>
bool throws(Call call) {
    try {
        call();
    } catch (const Error&) {
        return true;
    } catch (...) {
    }
    return false;
}

}  // namespace

TEST_CASE("a pool that is a static object ends with its program, busy or idle") {
    const pf::test::leaks none_left;
    witness kept;
    const child_end end = program([&] {
        static pf::pool pool{{.workers = 2, .grace = 0ms, .keep_fds = {kept.fd()}}};
        static auto never = pool.submit(forever);
        return pool.submit(twice, 21).get() == 42 ? 3 : 1;
    });
    CHECK(end == child_end{3, 0});
    CHECK(kept.all_said() == "");
}

TEST_CASE("exit() ends a static pool while its tasks run and other threads submit and wait") {
    for (int round = 0; round < 20; ++round) {
        witness kept;
        const child_end end = program([&] {
            static pf::pool pool{{.workers = 2,
                                  .memory_budget = 1u << 20,
                                  .queue_limit = 8,
                                  .grace = 0ms,
                                  .keep_fds = {kept.fd()}}};
            static std::atomic<int> busy{0};
            static std::atomic<int> wrong{0};
            // Until exit() is through: each call works, or says that the pool is closed.
            const auto endless = [](auto call) {
                std::thread{[call] {
                    ++busy;
                    for (;;) {
                        try {
                            call();
                        } catch (const pf::pool_closed&) {
                        } catch (const pf::cancelled&) {
                        } catch (...) {
                            ++wrong;
                        }
                    }
                }}.detach();
            };
            endless([] { static_cast<void>(pool.submit(forever)); });
            endless([] { static_cast<void>(pool.submit(twice, 4).get()); });
            endless([] { static_cast<void>(pool.submit(forever).get()); });
            endless([] { pool.drain(); });
            endless([] { static_cast<void>(pool.stats().submitted + pool.describe().size()); });
            endless([] {
                pool.submit([](const std::string& s) { return s.size(); },
                            std::string(600'000, 'x'))
                    .get();
            });
            while (busy < 6 || pool.stats().submitted < 8) std::this_thread::yield();
            std::atexit([] {
                if (wrong != 0) ::_exit(55);
            });
            std::thread{[] { std::exit(4); }}.join();
            return 1;
        });
        REQUIRE(end == child_end{4, 0});
        REQUIRE(kept.all_said() == "");
    }
}

TEST_CASE("a pool is used by a handler of atexit() before its end, and says so after it") {
    const pf::test::leaks none_left;
    witness said;
    static witness* out = nullptr;
    out = &said;
    static pf::pool* used = nullptr;
    const child_end end = program([] {
        std::atexit([] {  // runs last
            out->say(throws<pf::pool_closed>([] { used->submit(twice, 1); }) ? "closed " : "? ");
            out->say(
                throws<pf::pool_closed>([] { static_cast<void>(used->make_shared_array<int>(9)); })
                    ? "too "
                    : "? ");
            used->drain();
            out->say(used->shutdown(1s) && used->cancel_all() + used->kill_all() == 0 ? "and idle"
                                                                                      : "?");
        });
        static pf::pool pool{{.workers = 1}};
        used = &pool;
        std::atexit([] {  // runs first
            out->say(used->submit(twice, 21).get() == 42 ? "works " : "fails ");
        });
        return 5;
    });
    CHECK(end == child_end{5, 0});
    CHECK(said.all_said() == "works closed too and idle");
}

TEST_CASE("main may call exit() with futures outstanding, which outlive a static pool") {
    const pf::test::leaks none_left;
    const child_end end = program([] {
        static std::optional<pf::future<int>> waits;
        static std::optional<pf::future<std::string>> has;
        static pf::pool pool{{.workers = 1, .grace = 0ms}};  // ends before they do
        has = pool.submit([](std::size_t n) { return std::string(n, 'x'); }, 100'000);
        has->wait();
        waits = pool.submit(forever);
        return 6;
    });
    CHECK(end == child_end{6, 0});
}

TEST_CASE("a future that outlives its pool in a thread of its own has its answer") {
    const pf::test::leaks none_left;
    std::optional<pf::pool> pool{std::in_place, pf::pool_options{.workers = 1, .grace = 0ms}};
    auto never = pool->submit(forever);
    bool told = false;
    std::thread waits{[&] { told = throws<pf::cancelled>([&] { never.get(); }); }};
    pool.reset();
    waits.join();
    CHECK(told);
}

TEST_CASE("two pools with the same options live side by side, and after one that failed") {
    const pf::test::leaks none_left;
    static bool refuse = true;
    refuse = true;
    const pf::pool_options options{.workers = 1, .on_worker_start = [] {
                                       if (refuse) throw std::runtime_error("not yet");
                                   }};
    REQUIRE_THROWS_AS(pf::pool(options), pf::worker_start_failed);
    refuse = false;
    pf::pool first{options};
    pf::pool second{options};
    const auto pid = [] { return ::getpid(); };
    CHECK(first.submit(pid).get() != second.submit(pid).get());
    REQUIRE(first.shutdown(10s));
    CHECK(second.submit(twice, 2).get() == 4);
}

TEST_CASE("more pools may come and go than the remains of are kept") {
    const pf::test::leaks none_left;
    for (int i = 0; i < 40; ++i) {
        pf::pool pool{{.workers = pf::inline_workers}};
        REQUIRE(pool.submit(twice, i).get() == 2 * i);
    }
}

TEST_CASE("a pool moves, and its futures, groups and views go with it") {
    const pf::test::leaks none_left;
    pf::pool first{{.workers = 1}};
    auto result = first.submit(twice, 1);
    auto view = first.with({.retries = 1});
    pf::task_group<int> group{first};
    group.run(twice, 2);

    pf::pool second{std::move(first)};
    CHECK(result.get() == 2);
    CHECK(view.submit(twice, 5).get() == 10);
    group.run(twice, 3);
    CHECK(group.get() == std::vector<int>{4, 6});
    const std::string moved_from = "prefork::pool: it was moved from";
    REQUIRE_THROWS_WITH(first.submit(twice, 1), moved_from);
    REQUIRE_THROWS_WITH(first.map(std::vector<int>{1}, twice), moved_from);
    REQUIRE_THROWS_WITH(first.with({}), moved_from);
    REQUIRE_THROWS_WITH(first.with(pf::codec::raw), moved_from);
    REQUIRE_THROWS_WITH(first.make_shared_array<int>(1), moved_from);
    REQUIRE_THROWS_WITH(first.cancel_all(), moved_from);
    REQUIRE_THROWS_WITH(first.kill_all(), moved_from);
    REQUIRE_THROWS_WITH(first.drain(), moved_from);
    REQUIRE_THROWS_WITH(first.shutdown(1s), moved_from);
    REQUIRE_THROWS_WITH(first.stats(), moved_from);
    REQUIRE_THROWS_WITH(first.healthy(), moved_from);
    REQUIRE_THROWS_WITH(first.describe(), moved_from);
    REQUIRE_THROWS_WITH(pf::task_group<int>{first}, moved_from);

    // Over a pool that is busy: that one ends.
    pf::pool third{{.workers = 1, .grace = 0ms}};
    auto never = third.submit(forever);
    third = std::move(second);
    REQUIRE_THROWS_AS(never.get(), pf::cancelled);
    CHECK(third.submit(twice, 4).get() == 8);
    first = std::move(third);  // and back
    CHECK(first.submit(twice, 4).get() == 8);
    auto& same = first;
    first = std::move(same);
    CHECK(first.submit(twice, 6).get() == 12);
    std::vector<pf::pool> several;
    several.push_back(std::move(first));
    several.emplace_back(pf::pool_options{.workers = 1});
    for (pf::pool& each : several) CHECK(each.submit(twice, 7).get() == 14);
}

TEST_CASE("a task that exits ends its worker, and nothing of the host's runs there") {
    const pf::test::leaks none_left;
    witness said;
    static witness* out = nullptr;
    out = &said;
    const child_end end = program([] {
        struct speaks {
            ~speaks() { out->say("static destroyed, "); }
        };
        static speaks destroyed;
        std::atexit([] { out->say("handler, "); });
        static pf::pool pool{{.workers = 1, .keep_fds = {out->fd()}}};
        const auto lost = [](int status, auto how) {
            try {
                pool.submit(how).get_for(10s);
            } catch (const pf::worker_lost& e) {
                if (e.signal() != 0) return e.signal() == status;
                return e.exit_status() == status && e.killed_by() == pf::killer::none;
            } catch (...) {
            }
            return false;
        };
        int good = 0;
        good += lost(3, [] { std::exit(3); });
        good += lost(0, [] { std::exit(0); });
        good += lost(4, [] { std::quick_exit(4); });
        good += lost(SIGABRT, [] { std::terminate(); });
        good += lost(5, [] {
            std::atexit([] { out->say("of the task, "); });
            std::exit(5);
        });
        good += pool.submit(twice, 2).get_for(10s) == 4;
        return good;
    });
    CHECK(end == child_end{6, 0});
    CHECK(said.all_said() == "of the task, handler, static destroyed, ");
}

TEST_CASE("a task that ends its thread is told so, and the pool goes on") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    auto left = pool.submit([] { ::pthread_exit(nullptr); });
    REQUIRE_THROWS_WITH(left.get_for(10s), pf::test::containing("pthread_exit"));
    CHECK(pool.submit(twice, 2).get_for(10s) == 4);
}

TEST_CASE("a thread may end in a task that runs inline") {
    pf::pool pool{{.workers = pf::inline_workers}};
    pthread_t thread{};
    REQUIRE(::pthread_create(
                &thread, nullptr,
                [](void* to) -> void* {
                    static_cast<pf::pool*>(to)->submit([] { ::pthread_exit(nullptr); });
                    return to;
                },
                &pool) == 0);
    void* result = &pool;
    REQUIRE(::pthread_join(thread, &result) == 0);
    CHECK(result == nullptr);
    CHECK(pool.submit(twice, 2).get() == 4);
}

TEST_CASE("a pool in a library ends when that is closed, and the library can come again") {
    const pf::test::leaks none_left;
    for (const char* const name : {PREFORK_TEST_LIBRARIES}) {
        for (int round = 0; round < 3; ++round) {
            CAPTURE(name, round);
            void* const library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
            REQUIRE(library != nullptr);
            const auto ask = reinterpret_cast<int (*)(int)>(::dlsym(library, "ask_pool"));
            REQUIRE(ask != nullptr);
            CHECK(ask(21) == 42);
            REQUIRE(::dlclose(library) == 0);
            REQUIRE(::dlopen(name, RTLD_NOW | RTLD_NOLOAD) == nullptr);
        }
    }
}

TEST_CASE("a task uses its own pool after the fork server was replaced, from whatever thread") {
    const pf::test::leaks none_left;
    static std::optional<pf::pool> pool;
    pool.emplace(pf::pool_options{.workers = 1, .retries = 5});
    for (int round = 0; round < 3; ++round) {
        const pid_t server = pool->submit([] { return ::getppid(); }).get_for(10s);
        REQUIRE(::kill(server, SIGKILL) == 0);
        REQUIRE(pf::test::until(
            [&] { return pool->submit([] { return ::getppid(); }).get_for(10s) != server; }));
        auto nested = pool->submit([] { return pool->submit(twice, 21).get(); });
        REQUIRE(nested.get_for(10s) == 42);
    }
    pool.reset();
}

#include "pool/evidence.hpp"

#include <link.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/sanitizer.hpp"

// What an error says of each way in which a task can be lost (design.md §6).

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

const bool sanitized = pf::test::sanitized();

template <class T>
__attribute__((noinline)) void keep(T& value) {
    asm volatile("" : : "r"(&value) : "memory");
}

template <class Error, class Future>
Error error_of(Future task) {
    try {
        task.get();
    } catch (const Error& e) {
        return e;
    }
    FAIL("the task was not lost so");
    std::abort();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

__attribute__((noinline)) int wild_load() {
    volatile int* nowhere = nullptr;
    keep(nowhere);
    return *nowhere;
}
int abort_here() { std::abort(); }
__attribute__((no_sanitize("undefined"))) int divide(int by) {
    int seven = 7;
    keep(seven);
    keep(by);
    return seven / by;
}
int overflow(int depth) {
    volatile char frame[4096];
    frame[0] = 1;
    keep(frame);
    return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}
int exit_with(int status) { ::_exit(status); }
int killed() { return ::raise(SIGKILL); }
int in_library(const char* text) {
    keep(text);
    return static_cast<int>(std::strlen(text));
}
int in_handler() {
    ::signal(SIGUSR1, [](int) { wild_load(); });
    return ::raise(SIGUSR1);
}
int in_thread() {
    std::thread{[] { wild_load(); }}.join();
    return 0;
}
int jump_to_null() {
    int (*nothing)() = nullptr;
    keep(nothing);
    return nothing() + 1;
}
template <int Depth>
__attribute__((noinline)) int nested() {
    if constexpr (Depth == 0) {
        return wild_load();
    } else {
        const int inner = nested<Depth - 1>();
        return inner + 1;
    }
}

struct row {
    int (*task)();
    int signal;
    const char* in;  ///< in what() and in the trace
};

int loop() {
    for (volatile bool on = true; on;) {
    }
    return 0;
}
int in_system_call() {
    for (;;) ::pause();
}

}  // namespace

TEST_CASE("each crash is told with its signal and the function that it was in") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 1}};
    const auto end_one = [] { return 1; };
    const row rows[] = {
        {wild_load, SIGSEGV, "wild_load()"},
        {abort_here, SIGABRT, "abort_here()"},
        {[] { return divide(0); }, SIGFPE, "divide(int)"},
        {[] { return overflow(0); }, SIGSEGV, "overflow(int)"},
        {[] { return in_library(reinterpret_cast<const char*>(8)); }, SIGSEGV, "in_library("},
        {in_handler, SIGSEGV, "wild_load()"},
        {in_thread, SIGSEGV, "wild_load()"},
        {jump_to_null, SIGSEGV, "jump_to_null()"},
        {nested<200>, SIGSEGV, "wild_load()"},
    };
    for (const row& each : rows) {
        CAPTURE(each.in);
        CHECK(pool.submit(end_one).get() == 1);  // a worker that ended none is replaced later
        const auto e = error_of<pf::worker_lost>(pool.submit(each.task));
        if (e.signal() == SIGILL && each.signal == SIGFPE) continue;  // not every machine traps it
        CHECK(e.signal() == each.signal);
        CHECK(e.killed_by() == pf::killer::none);
        // A sanitizer puts functions of the program before those of the C library.
        const bool wrapped = sanitized && std::string_view{each.in} == "in_library(";
        if (!wrapped) CHECK(contains(e.what(), each.in));
        CHECK(contains(e.stack_trace(), each.in));
        CHECK(e.memory() > 0);
        CHECK(e.peak_memory() >= e.memory());
        CHECK(e.run_time() > 0ns);
        CHECK(e.attempts() == 1);
    }
}

TEST_CASE("the trace ends with the task, however it was called") {
    pf::pool pool{{.workers = 1}};
    const auto e = error_of<pf::worker_lost>(pool.submit(wild_load));
    CHECK(contains(e.stack_trace(), "wild_load"));
    CHECK_FALSE(contains(e.stack_trace(), "\n"));
    const auto mapped = [](int number) { return number == 3 ? wild_load() : number; };
    try {
        pool.map(std::vector<int>{1, 2, 3}, mapped);
        FAIL("it crashed");
    } catch (const pf::worker_lost& lost) {
        CHECK(contains(lost.stack_trace(), "\n"));
        CHECK_FALSE(contains(lost.stack_trace(), "worker_loop"));
    }
}

TEST_CASE("an exit, and a SIGKILL from a stranger, are told as what they are") {
    pf::pool pool{{.workers = 1}};
    const auto left = error_of<pf::worker_lost>(pool.submit(exit_with, 3));
    CHECK(left.signal() == 0);
    CHECK(left.exit_status() == 3);
    CHECK(contains(left.what(), "lost: exit status 3 (task 0, attempt 1 of 1)"));
    CHECK(left.stack_trace().empty());
    const auto shot = error_of<pf::worker_lost>(pool.submit(killed));
    CHECK(shot.signal() == SIGKILL);
    CHECK(shot.killed_by() == pf::killer::stranger);
    CHECK(shot.peak_memory() > 0);
}

TEST_CASE("kill_all() is told as cancelled") {
    pf::pool pool{{.workers = 1}};
    auto task = pool.submit(loop);
    while (pool.kill_all() == 0) std::this_thread::yield();
    CHECK_THROWS_AS(task.get(), pf::cancelled);
}

TEST_CASE("a memory limit is told with what the worker held") {
    if (sanitized) return;  // its allocator doesn't obey RLIMIT_DATA
    pf::pool pool{{.workers = 1, .worker_memory_limit = 64u << 20}};
    // Children of its own add up to more than the limit, and none of them alone.
    const auto grow = [] {
        for (int i = 0; i < 3; ++i) {
            if (::fork() != 0) continue;
            const std::vector<char> memory(40u << 20, 'x');
            for (;;) ::pause();
        }
        for (;;) ::pause();
        return 0;
    };
    const auto e = error_of<pf::memory_exceeded>(pool.submit(grow));
    CHECK(e.killed_by() == pf::killer::memory_limit);
    CHECK(e.memory() > (64u << 20));
    CHECK(contains(e.what(), "worker_memory_limit of 67108864"));
}

TEST_CASE("a timeout is told with where the task was, how long it ran and what it said") {
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    const auto late = pool.with({.timeout = 20ms, .label = "slow"});
    const auto e = error_of<pf::task_timeout>(late.submit(loop));
    CHECK(contains(e.stack_trace(), "loop()"));
    CHECK(e.killed_by() == pf::killer::timeout);
    CHECK(e.run_time() >= 20ms);
    CHECK(e.memory() > 0);
    CHECK(e.peak_memory() > 0);
    CHECK(e.label() == "slow");
    CHECK(e.attempts() == 1);
    const auto calling = error_of<pf::task_timeout>(late.submit(in_system_call));
    CHECK(contains(calling.stack_trace(), "in_system_call()"));
    const auto said = error_of<pf::task_timeout>(late.submit([] {
        pf::log(pf::level::info, "before the loop");
        return loop();
    }));
    CHECK(contains(said.log_tail(), "[info] before the loop"));
}

// Another thread stands in the loader's own walk, and the crashing one has malloc's lock: the
// handler needs neither, or the trace would be cut short by its alarm.
TEST_CASE("a crash is traced while others hold the loader's lock") {
    pf::pool pool{{.workers = 1}};
    const auto e = error_of<pf::worker_lost>(pool.submit([] {
        static std::atomic<bool> inside{false};
        std::thread{[] {
            ::dl_iterate_phdr(
                [](dl_phdr_info*, std::size_t, void*) {
                    inside = true;
                    for (;;) ::pause();
                    return 0;
                },
                nullptr);
        }}.detach();
        while (!inside) std::this_thread::yield();
        return wild_load();
    }));
    CHECK(e.signal() == SIGSEGV);
    CHECK(contains(e.stack_trace(), "wild_load()"));
    CHECK(contains(e.stack_trace(), "\n"));
}

TEST_CASE("a timeout in malloc, with its lock held, has its trace") {
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    // Threads that do nothing else: the signal finds the task in there, or about to be.
    const auto e = error_of<pf::task_timeout>(pool.with({.timeout = 50ms}).submit([] {
        for (;;) {
            void* const memory = std::malloc(100'000);
            keep(memory);
            std::free(memory);
        }
        return 0;
    }));
    CHECK_FALSE(e.stack_trace().empty());
    CHECK(pool.submit([] { return 7; }).get() == 7);
}

TEST_CASE("an error that outlives its pool says the same") {
    const pf::test::leaks none_left;
    std::optional<pf::worker_lost> kept;
    {
        pf::pool pool{{.workers = 1}};
        kept = error_of<pf::worker_lost>(pool.submit(wild_load));
    }
    CHECK(contains(kept->what(), "wild_load()"));
    const pf::worker_lost copy = *kept;
    CHECK(copy.what() == kept->what());
    CHECK(copy.stack_trace() == kept->stack_trace());
}

TEST_CASE("without exceptions the same is known, and saved") {
    pf::pool pool{{.workers = 1}};
    const auto path = std::filesystem::temp_directory_path() /
                      ("prefork-evidence-" + std::to_string(::getpid()) + ".task");
    const auto result = pool.with({.label = "why"}).submit(wild_load).result();
    REQUIRE(!result);
    CHECK(contains(result.error().what(), "wild_load()"));
    CHECK(contains(result.error().stack_trace(), "wild_load()"));
    CHECK(result.error().details().label == "why");
    CHECK(result.error().details().run_time > 0ns);
    CHECK(result.error().save(path.string()));
    CHECK(std::filesystem::remove(path));
    const auto refused = result.error().save("/nowhere/crash.task");
    REQUIRE(!refused);
    CHECK(refused.error().kind() == pf::failure_kind::system);
    const auto thrown = pool.submit([] { throw 1; }).result();
    CHECK(thrown.error().save(path.string()).error().kind() == pf::failure_kind::invalid_argument);
}

TEST_CASE("errors keep large arguments, an eighth of the budget at most, and give them back") {
    const pf::test::leaks none_left;
    const auto path = std::filesystem::temp_directory_path() /
                      ("prefork-kept-" + std::to_string(::getpid()) + ".task");
    pf::pool pool{{.workers = 1, .memory_budget = 16u << 20}};
    const auto crash = [](const std::string&) { std::abort(); };
    const std::string megabyte(1u << 20, 'x');
    {
        const auto first = error_of<pf::worker_lost>(pool.submit(crash, megabyte));
        CHECK_NOTHROW(first.save(path.string()));
        CHECK(std::filesystem::file_size(path) > megabyte.size());
        const auto second = error_of<pf::worker_lost>(pool.submit(crash, megabyte));
        CHECK_THROWS_AS(second.save(path.string()), pf::payload_too_large);
    }
    // Given back: forty of them, one after another, are more than twice the budget.
    for (int i = 0; i < 40; ++i) {
        CHECK(pool.submit([](int x) { return x; }, i).get() == i);  // else restarts would wait
        const auto e = error_of<pf::worker_lost>(pool.submit(crash, megabyte));
        if (i == 39) CHECK_NOTHROW(e.save(path.string()));
    }
    std::filesystem::remove(path);
}

TEST_CASE("a library that was closed since keeps its name in the trace") {
    prefork::process::crash what;
    what.frames = {reinterpret_cast<std::uint64_t>(&wild_load) + 1};
    what.objects = prefork::process::objects_with(what.frames);
    REQUIRE(what.objects.size() == 1);
    // As after dlclose(): what was taken is all that there is.
    what.objects[0].path = "/nowhere/library.so";
    what.objects[0].name = "/nowhere/library.so";
    CHECK(contains(prefork::process::symbolise(what), "(/nowhere/library.so +0x"));
}

#include "process/crash_report.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "process/host.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/until.hpp"

using namespace prefork;
using namespace prefork::test;
using process::crash;
using process::crash_record;

namespace {

struct ended {
    child_end how;
    std::optional<process::crash> left;
    std::string description() const {
        const std::string end =
            process::describe_end(how.signal != 0 ? CLD_KILLED : CLD_EXITED,
                                  how.signal != 0 ? how.signal : how.status, left);
        // Up to the source's place, which symbols_test looks at.
        const std::string place = left ? process::describe_place(*left) : "";
        return end + place.substr(0, place.find(", crash_report_test.cpp:"));
    }
    /// 0: not in the trace.
    std::size_t line_of(const std::string& function) const {
        const std::string trace = process::symbolise(*left);
        const auto at = trace.find(function);
        if (at == std::string::npos) return 0;
        return 1 + static_cast<std::size_t>(
                       std::count(trace.begin(), trace.begin() + static_cast<long>(at), '\n'));
    }
};

/// It puts functions of its own between a caller and the C library, and holds signals back.
#if defined(__SANITIZE_THREAD__)
constexpr bool under_thread_sanitizer = true;
#elif defined(__has_feature)
constexpr bool under_thread_sanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool under_thread_sanitizer = false;
#endif

/// The journal word of a worker that runs nothing.
const std::atomic<std::uint64_t> running{0};

/// What becomes of a worker that runs `body`.
template <class Body>
ended run(Body body) {
    const shared<crash_record> record;
    const pid_t pid = fork_child([&] {
        // Catch has a signal stack of its own, which would do for ours.
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        ::sigaltstack(&none, nullptr);
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        process::watch_crashes(*record, running);
        body();
        return 0;
    });
    const child_end how = wait_for_child(pid);
    return {how, process::read_crash(*record, pid)};
}

template <class T>
__attribute__((noinline)) void keep(T& value) {
    asm volatile("" : : "r"(&value) : "memory");
}

__attribute__((noinline)) int crash_by_load(const volatile int* from) {
    const int value = *from;
    keep(value);
    return value;
}

__attribute__((noinline, no_sanitize("undefined"))) int crash_by_division(int by) {
    keep(by);
    const int value = 1 / by;
    keep(value);
    return value;
}

__attribute__((noinline)) void crash_by_abort() {
    int frame = 0;
    keep(frame);
    std::abort();
}

// Pages at a time, so that it doesn't take long.
__attribute__((noinline)) int crash_by_recursion(int depth) {
    volatile char frame[4096];
    frame[0] = static_cast<char>(depth);
    keep(frame);
    return depth < 0 ? 0 : crash_by_recursion(depth + 1) + frame[0];
}

__attribute__((noinline)) void crash_by_null_call(void (*nothing)()) {
    keep(nothing);
    nothing();
    keep(nothing);
}

// Over the return addresses and frame pointers of all callers that it reaches.
__attribute__((noinline, no_sanitize("address"))) void crash_with_ruined_stack() {
    auto* at = static_cast<volatile char*>(__builtin_frame_address(0));
    for (int i = 0; i < 2048; ++i) at[i] = 0x41;
    ::raise(SIGILL);
}

__attribute__((noinline)) void hang(std::atomic<bool>& hanging) {
    hanging = true;
    for (;;)
        asm volatile("");  // in this frame: without optimisation, keep() would be the innermost
}

}  // namespace

TEST_CASE("a wild load is told with signal, address and function") {
    const ended worker = run([] { crash_by_load(reinterpret_cast<const int*>(0x10)); });
    CHECK(worker.how.signal == SIGSEGV);
    REQUIRE(worker.left);
    CHECK(worker.left->address == 0x10);
    CHECK(worker.line_of("crash_by_load") == 1);
    CHECK(worker.description() ==
          "SIGSEGV at 0x10 in (anonymous namespace)::crash_by_load(int const volatile*)");
}

TEST_CASE("an abort is told with the function that called it") {
    const ended worker = run(crash_by_abort);
    CHECK(worker.how.signal == SIGABRT);
    REQUIRE(worker.left);
    CHECK(worker.line_of("crash_by_abort") > 0);
    if (under_thread_sanitizer) return;
    CHECK(worker.description() == "SIGABRT in (anonymous namespace)::crash_by_abort()");
}

TEST_CASE("a division by zero is told with its function") {
    const ended worker = run([] { crash_by_division(0); });
    if (worker.how.signal == 0) return;  // not every machine traps it
    CHECK(worker.how.signal == SIGFPE);
    REQUIRE(worker.left);
    CHECK(worker.line_of("crash_by_division") == 1);
}

TEST_CASE("a stack overflow is told, with as many frames as fit") {
    const ended worker = run([] { crash_by_recursion(0); });
    CHECK(worker.how.signal == SIGSEGV);
    REQUIRE(worker.left);
    CHECK(worker.left->frames.size() == crash_record::most_frames);
    CHECK(worker.line_of("crash_by_recursion") == 1);
}

TEST_CASE("a call through a null pointer is told with its caller") {
    const ended worker = run([] { crash_by_null_call(nullptr); });
    CHECK(worker.how.signal == SIGSEGV);
    REQUIRE(worker.left);
    CHECK(worker.left->address == 0);
    CHECK(worker.line_of("crash_by_null_call") == 2);
}

TEST_CASE("a crash whose stack can't be walked still ends with its own signal") {
    if (under_thread_sanitizer) return;
    const ended worker = run(crash_with_ruined_stack);
    CHECK(worker.how.signal == SIGILL);
    REQUIRE(worker.left);
    CHECK(worker.left->signal == SIGILL);
}

TEST_CASE("a crash in another thread is told too") {
    const ended worker =
        run([] { std::thread([] { crash_by_load(reinterpret_cast<const int*>(0x20)); }).join(); });
    CHECK(worker.how.signal == SIGSEGV);
    REQUIRE(worker.left);
    CHECK(worker.left->address == 0x20);
    CHECK(worker.line_of("crash_by_load") == 1);
}

TEST_CASE("threads that crash together end the process with one whole record") {
    const ended worker = run([] {
        std::atomic<int> ready{0};
        const auto crash_together = [&] {
            for (++ready; ready < 4;) std::this_thread::yield();
            crash_by_load(reinterpret_cast<const int*>(0x30));
        };
        std::thread all[] = {std::thread(crash_together), std::thread(crash_together),
                             std::thread(crash_together), std::thread(crash_together)};
        for (auto& each : all) each.join();
    });
    CHECK(worker.how.signal == SIGSEGV);
    REQUIRE(worker.left);
    CHECK(worker.line_of("crash_by_load") == 1);
}

TEST_CASE("SIGABRT from another process gives a trace of what hung, and names the sender") {
    const shared<crash_record> record;
    const shared<std::atomic<bool>> hanging;
    const pid_t pid = fork_child([&] {
        process::watch_crashes(*record, running);
        hang(*hanging);
        return 0;
    });
    REQUIRE(until([&] { return hanging->load(); }));
    ::kill(pid, SIGABRT);
    CHECK(wait_for_child(pid).signal == SIGABRT);
    const auto left = process::read_crash(*record, pid);
    REQUIRE(left);
    CHECK(left->sender == ::getpid());
    CHECK(process::describe_end(CLD_KILLED, SIGABRT, left) == "SIGABRT");
    CHECK(process::describe_place(*left).find(
              " in (anonymous namespace)::hang(std::atomic<bool>&)") == 0);
}

TEST_CASE("a process that a task forked does not write into the worker's record") {
    const ended worker = run([] {
        const pid_t inner = ::fork();  // with the worker's handlers
        if (inner == 0) crash_by_abort();
        if (wait_for_child(inner).signal != SIGABRT) ::_exit(1);
    });
    CHECK(worker.how == child_end{});
    CHECK(!worker.left);
}

TEST_CASE("a worker that ends without a crash leaves no record") {
    CHECK(!run([] { ::_exit(3); }).left);
    CHECK(run([] { ::_exit(3); }).description() == "exit status 3");
    CHECK(!run([] { ::raise(SIGKILL); }).left);
    CHECK(run([] { ::raise(SIGKILL); }).description() == "SIGKILL");
}

TEST_CASE("a record of the seat's former worker is not taken for this one's") {
    const shared<crash_record> record;
    record->pid = 4711;
    record->signal = SIGSEGV;
    CHECK(process::read_crash(*record, 4711));
    CHECK(!process::read_crash(*record, 4712));
    record->pid = 0;
    CHECK(!process::read_crash(*record, 0));
}

TEST_CASE("a record full of nonsense is read within its bounds") {
    const shared<crash_record> record;
    std::memset(static_cast<void*>(&*record), 0xff, sizeof(crash_record));
    record->pid = 1;
    CHECK(!process::read_crash(*record, 1));
    record->signal = SIGSEGV;
    const auto left = process::read_crash(*record, 1);
    REQUIRE(left);
    CHECK(left->frames.size() == crash_record::most_frames);
    CHECK(process::symbolise(*left).find("0xffffffffffffffff (no code)") == 0);
    CHECK(process::describe_end(CLD_KILLED, SIGSEGV, left) == "SIGSEGV");
    CHECK(process::describe_place(*left) == "");
}

TEST_CASE("a worker that is asked where it is says so, and goes on") {
    const shared<crash_record> record;
    const auto asked = ring::slot_word::ready(7, 2);
    const shared<std::atomic<std::uint64_t>> run;
    const shared<std::atomic<bool>> hanging;
    const pid_t pid = fork_child([&] {
        process::watch_crashes(*record, *run);
        *run = asked.bits();
        hang(*hanging);
        return 0;
    });
    REQUIRE(until([&] { return hanging->load(); }));
    CHECK_FALSE(process::read_trace(*record, asked));
    ::kill(pid, process::trace_signal);
    std::optional<process::crash> left;
    REQUIRE(until([&] { return (left = process::read_trace(*record, asked)).has_value(); }));
    CHECK(process::symbolise(*left).find("hang") != std::string::npos);
    CHECK_FALSE(process::read_trace(*record, ring::slot_word::ready(7, 3)));
    CHECK_FALSE(process::read_crash(*record, pid));  // nothing that its end is explained by
    CHECK(::kill(pid, 0) == 0);
    ::kill(pid, SIGKILL);
    CHECK(wait_for_child(pid).signal == SIGKILL);
}

#include "process/debugger.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/log_lines.hpp"
#include "support/until.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

/// PREFORK_DEBUG=wait for as long as this lives.
struct debug_wait {
    debug_wait() { ::setenv("PREFORK_DEBUG", "wait", 1); }
    ~debug_wait() { ::unsetenv("PREFORK_DEBUG"); }
};

/// The process that a line says a debugger may attach to; 0 if it is another line.
pid_t waiting_process(std::string_view text) {
    const auto at = text.find(" waits for a debugger: gdb -p ");
    return at == text.npos ? 0 : std::stoi(std::string(text.substr(at + 30)));
}

}  // namespace

TEST_CASE("nothing waits unless it is asked to") {
    CHECK_FALSE(pf::process::debugger_is_wanted());
    ::setenv("PREFORK_DEBUG", "other", 1);
    CHECK_FALSE(pf::process::debugger_is_wanted());
    const debug_wait wanted;
    CHECK(pf::process::debugger_is_wanted());
}

TEST_CASE("with PREFORK_DEBUG=wait a worker waits before its hooks until SIGCONT, in no hurry") {
    const pf::test::leaks none_left;
    const debug_wait wanted;
    std::string said;
    pf::set_log_level(pf::level::error);  // it is said all the same
    pf::set_log_handler([&](const pf::log_record& record) {
        said += std::string(record.text) + '\n';
        const pid_t worker = waiting_process(record.text);
        CHECK(worker == record.pid);
        ::usleep(60'000);
        if (worker != 0) ::kill(worker, SIGCONT);
    });
    static bool hook_ran = false;
    {
        pf::pool pool{{.workers = 1,
                       .on_worker_start = [] { hook_ran = true; },
                       .worker_start_timeout = 20ms}};
        CHECK(pool.submit([] { return hook_ran; }).get_for(10s));
        CHECK(said.find("worker 0 waits for a debugger: gdb -p ") == 0);
    }
    pf::set_log_handler({});
    pf::set_log_level(pf::level::info);
}

TEST_CASE("a debugger that attaches ends the wait") {
    const debug_wait wanted;
    pid_t attached = 0;
    pf::set_log_handler([&](const pf::log_record& record) {
        const pid_t worker = waiting_process(record.text);
        if (worker != 0 && ::ptrace(PTRACE_SEIZE, worker, nullptr, nullptr) == 0) attached = worker;
    });
    {
        // The handler is called in this thread during construction, which is the tracer then.
        pf::pool pool{{.workers = 1}};
        REQUIRE(attached != 0);
        CHECK(pool.submit([] { return ::getpid(); }).get_for(10s) == attached);
        ::ptrace(PTRACE_INTERRUPT, attached, nullptr, nullptr);
        ::waitpid(attached, nullptr, __WALL);
        ::ptrace(PTRACE_DETACH, attached, nullptr, nullptr);
    }
    pf::set_log_handler({});
}

TEST_CASE("a pool whose replacement waits for a debugger ends in time") {
    const pf::test::leaks none_left;
    std::atomic<int> waiting{0};
    {
        const debug_wait wanted;
        std::atomic<pid_t> first{0};
        pf::set_log_handler([&](const pf::log_record& record) {
            const pid_t worker = waiting_process(record.text);
            ++waiting;
            if (first == 0) ::kill(worker, SIGCONT);
            first = worker;
        });
        pf::pool pool{{.workers = 1}};
        ::kill(first, SIGKILL);
        REQUIRE(pf::test::until([&] { return waiting == 2; }));
        const auto began = std::chrono::steady_clock::now();
        CHECK(pool.shutdown(0s));
        CHECK(std::chrono::steady_clock::now() - began < 2s);
    }
    pf::set_log_handler({});
}

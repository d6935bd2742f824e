// When it goes wrong: each error by the type and the questions that the interface names.
#include <unistd.h>

#include <csignal>
#include <prefork/prefork.hpp>
#include <stdexcept>
#include <string>

#include "check.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

int parse(const std::string& text) {
    if (text == "crash") ::raise(SIGSEGV);
    if (text == "hang") ::pause();
    return std::stoi(text.empty() ? throw std::out_of_range("empty") : text);
}

}  // namespace

int main() {
    pf::pool pool{{.workers = 1, .grace = 0ms}};
    try {
        pool.submit(parse, "").get();
        check(false, "it throws");
    } catch (const std::out_of_range& e) {
        check(e.what() == std::string{"empty"}, "a standard exception arrives as itself");
    }
    try {
        pool.submit(parse, "").get();
        check(false, "it throws");
    } catch (const pf::task_error& e) {
        check(e.type_name() == "std::out_of_range", "and as a task_error");
    }
    try {
        pool.with({.label = "bad input"}).submit(parse, "crash").get();
        check(false, "it is lost");
    } catch (const pf::worker_lost& e) {
        check(e.signal() == SIGSEGV && e.exit_status() == 0, "by a signal");
        check(e.attempts() == 1 && e.killed_by() == pf::killer::none, "by itself");
        check(e.stack_trace().find("parse") != std::string::npos, "with a stack trace");
        check(e.log_tail().empty() && e.label() == "bad input", "log lines and its label");
    }
    try {
        pool.with({.timeout = 20ms}).submit(parse, "hang").get();
        check(false, "it is late");
    } catch (const pf::task_timeout& e) {
        check(e.stack_trace().find("parse") != std::string::npos, "and where it hung");
    }
    try {
        pool.with({.deadline = std::chrono::steady_clock::now()}).submit(parse, "1").get();
        check(false, "it expired");
    } catch (const pf::task_expired& e) {
        const pf::error& base = e;
        const std::runtime_error& standard = base;
        check(standard.what() != std::string{}, "all have one base");
    }
    auto waiting = pool.submit(parse, "hang");
    try {
        waiting.get_for(10ms);
        check(false, "it waits");
    } catch (const pf::wait_timeout&) {
    }
    waiting.cancel();
    try {
        const pf::pool refused{{.on_worker_start = [] { throw std::runtime_error("no"); }}};
        check(false, "it doesn't start");
    } catch (const pf::worker_start_failed&) {
    }
    pool.shutdown(5s);
    try {
        pool.submit(parse, "1").get();
        check(false, "it is closed");
    } catch (const pf::pool_closed&) {
    }
}

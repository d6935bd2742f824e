#include "base/signal_mask.hpp"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "support/catch.hpp"
#include "support/in_child.hpp"

using prefork::base::all_signals_blocked;
using prefork::base::reset_signals_in_child;
using prefork::test::child_end;
using prefork::test::in_child;

namespace {

bool is_blocked(int signal) {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return ::sigismember(&now, signal) == 1;
}

volatile std::sig_atomic_t handled = 0;
void handle(int) { handled = handled + 1; }

using handler = void (*)(int);
handler disposition(int signal) {
    struct sigaction now {};
    ::sigaction(signal, nullptr, &now);
    return now.sa_handler;
}

}  // namespace

TEST_CASE("while the guard lives no handler runs, and what came meanwhile is handled then") {
    const auto previous = ::signal(SIGUSR1, handle);
    handled = 0;
    {
        const all_signals_blocked guard;
        ::pthread_kill(::pthread_self(), SIGUSR1);
        CHECK(handled == 0);
    }
    CHECK(handled == 1);
    ::signal(SIGUSR1, previous);
}

TEST_CASE("what was blocked before the guard is blocked after it, and nothing else") {
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
    {
        const all_signals_blocked outer;
        const all_signals_blocked inner;
        CHECK(is_blocked(SIGTERM));
        CHECK(is_blocked(SIGCHLD));
    }
    CHECK(is_blocked(SIGUSR2));
    CHECK_FALSE(is_blocked(SIGTERM));
    CHECK_FALSE(is_blocked(SIGCHLD));
    ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
}

TEST_CASE("other threads' signals are not blocked") {
    bool blocked = true;
    std::thread other{[&] { blocked = is_blocked(SIGTERM); }};
    other.join();
    CHECK_FALSE(blocked);
    const all_signals_blocked guard;
    std::thread inherits{[&] { blocked = is_blocked(SIGTERM); }};
    inherits.join();
    CHECK(blocked);  // unless they are started under the guard, as the monitor is
}

TEST_CASE("a child has no handler of the host's, and nothing blocked") {
    const auto body = [] {
        for (const int signal : {SIGUSR1, SIGSEGV, SIGCHLD, SIGTERM}) ::signal(signal, handle);
        ::signal(SIGHUP, SIG_IGN);
        const all_signals_blocked guard;
        reset_signals_in_child();
        for (const int signal : {SIGUSR1, SIGSEGV, SIGCHLD, SIGTERM, SIGHUP}) {
            if (disposition(signal) != SIG_DFL) return signal;
        }
        for (int signal = 1; signal < NSIG; ++signal) {
            if (is_blocked(signal)) return 100 + signal;
        }
        return 0;
    };
    CHECK(in_child(body) == child_end{0, 0});
}

TEST_CASE("a child survives Ctrl-C and a broken pipe, and dies of SIGTERM") {
    const auto survives = [](int signal) {
        return in_child([signal] {
            reset_signals_in_child();
            ::raise(signal);
            return 0;
        });
    };
    CHECK(survives(SIGINT) == child_end{0, 0});
    CHECK(survives(SIGPIPE) == child_end{0, 0});
    CHECK(survives(SIGTERM) == child_end{0, SIGTERM});
}

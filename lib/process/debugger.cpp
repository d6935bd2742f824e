#include "process/debugger.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/system_call.hpp"
#include "log/log.hpp"
#include "process/identity.hpp"

namespace prefork::process {
namespace {

constexpr timespec look_every{0, 50'000'000};

bool is_traced() {
    const std::string status = base::read_small_file("/proc/self/status");
    const auto at = status.find("TracerPid:");
    return at != std::string::npos && std::strtol(status.c_str() + at + 10, nullptr, 10) != 0;
}

}  // namespace

bool debugger_is_wanted() noexcept {
    const char* const wish = std::getenv("PREFORK_DEBUG");
    return wish != nullptr && std::strcmp(wish, "wait") == 0;
}

bool wait_for_debugger(control words) {
    sigset_t go_on;
    ::sigemptyset(&go_on);
    ::sigaddset(&go_on, SIGCONT);
    sigset_t before;
    // Before the line: who reads it may be quick.
    ::pthread_sigmask(SIG_BLOCK, &go_on, &before);
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    logging::say(level::warning, "worker " + std::to_string(worker_index()) +
                                     " waits for a debugger: gdb -p " + std::to_string(::getpid()));
    bool closing = false;
    while (!closing && !is_traced() && ::sigtimedwait(&go_on, nullptr, &look_every) != SIGCONT) {
        closing = words.flags().closing.load(std::memory_order_acquire) != 0;
    }
    ::prctl(PR_SET_PTRACER, 0);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return !closing;
}

}  // namespace prefork::process

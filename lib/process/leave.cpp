#include "process/leave.hpp"

#include <stdio_ext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/system_call.hpp"

extern "C" {
__attribute__((weak)) void __lsan_do_leak_check();
}

namespace prefork::process {
namespace {

// One per process: how this worker ends.
void (*write_coverage)() = nullptr;
pid_t worker = 0;
bool alone_at_fork = true;

}  // namespace

void note_threads_at_fork() noexcept { alone_at_fork = base::thread_count() == 1; }

void write_at_exit(void (*reset)(), void (*write)()) {
    if (write != nullptr && reset != nullptr) reset();
    write_coverage = write;
    worker = ::getpid();
    // Before all that was registered in the host, after all that will be here.
    ::on_exit(
        [](int status, void*) {
            if (::getpid() == worker) leave(status);  // not a process that a task has forked
        },
        nullptr);
}

void drop_inherited_output() noexcept {
    ::__fpurge(stdout);
    ::__fpurge(stderr);
}

void leave(int status) noexcept {
    // Others than these two have lost their descriptors.
    for (std::FILE* const each : {stdout, stderr}) {
        if (::ftrylockfile(each) != 0) continue;  // by a thread of the task's that still prints
        std::fflush(each);
        ::funlockfile(each);
    }
    if (write_coverage != nullptr) write_coverage();
    if (__lsan_do_leak_check != nullptr && alone_at_fork) __lsan_do_leak_check();
    ::_exit(status);
}

}  // namespace prefork::process

#include "process/leave.hpp"

#include <pthread.h>
#include <unistd.h>

#include <cstdlib>

#include "base/system_call.hpp"

extern "C" {
__attribute__((weak)) void __lsan_do_leak_check();
__attribute__((weak)) void __lsan_register_root_region(const void* begin, std::size_t size);
}

namespace prefork::process {
namespace {

// One per process: how this worker ends.
void (*write_coverage)() = nullptr;
pid_t worker = 0;
bool alone_at_fork = true;

// The sanitizer knows this thread by the number that it had before the fork, and would look for
// the stack of that one.
void show_own_stack() noexcept {
    pthread_attr_t attributes;
    if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return;
    void* low = nullptr;
    std::size_t size = 0;
    if (::pthread_attr_getstack(&attributes, &low, &size) == 0) {
        const auto* const here = static_cast<const char*>(__builtin_frame_address(0));
        const auto* const end = static_cast<const char*>(low) + size;
        __lsan_register_root_region(here, static_cast<std::size_t>(end - here));
    }
    ::pthread_attr_destroy(&attributes);
}

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

void leave(int status) noexcept {
    if (write_coverage != nullptr) write_coverage();
    if (__lsan_do_leak_check != nullptr && alone_at_fork) {
        show_own_stack();
        __lsan_do_leak_check();
    }
    ::_exit(status);
}

}  // namespace prefork::process

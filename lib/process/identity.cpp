#include "process/identity.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/fail_point.hpp"
#include "base/system_call.hpp"
#include "prefork/error.hpp"
#include "prefork/worker.hpp"

namespace prefork::process {
namespace {

// One per process, not per pool: what this process is. Set before the first task, never changed
// after.
bool is_worker = false;
unsigned index_here = 0;
pid_t pid_here = 0;  // 0 in the host

struct exit_call {
    void (*call)(void*);
    void* argument;
};
std::vector<exit_call> exit_calls;

}  // namespace

role current_role() noexcept { return is_worker ? role::worker : role::host; }

void become_worker(unsigned index) noexcept {
    is_worker = true;
    index_here = index;
    pid_here = ::getpid();
    exit_calls.clear();
}

unsigned worker_index() noexcept { return index_here; }

void run_exit_calls() {
    while (!exit_calls.empty()) {
        const exit_call last = exit_calls.back();
        exit_calls.pop_back();
        last.call(last.argument);
    }
}

host_mark::host_mark() {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const mapped =
        base::fail_point::refused("identity.mmap")
            ? MAP_FAILED
            : ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) base::throw_system_error(errno, "mmap for the identity page");
    if (base::fail_point::refused("identity.madvise") ||
        ::madvise(mapped, page, MADV_WIPEONFORK) != 0) {
        const int error = errno;
        ::munmap(mapped, page);
        base::throw_system_error(error, "madvise(MADV_WIPEONFORK), which needs Linux 4.14");
    }
    mark_ = static_cast<volatile unsigned char*>(mapped);
    *mark_ = 1;
}

host_mark::~host_mark() {
    ::munmap(const_cast<unsigned char*>(mark_), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
}

void host_mark::throw_wrong_process(const std::string& pool_name) {
    throw wrong_process("pool '" + pool_name +
                        "' was made by the process that this one was forked from");
}

}  // namespace prefork::process

namespace prefork {

unsigned this_worker::index() noexcept { return process::worker_index(); }
pid_t this_worker::pid() noexcept { return ::getpid(); }

std::uint64_t detail::process_number() noexcept {
    return static_cast<std::uint64_t>(process::pid_here);
}

void detail::at_worker_exit(void (*call)(void*), void* argument) {
    // In the host such objects end as globals do.
    if (process::is_worker) process::exit_calls.push_back({call, argument});
}

}  // namespace prefork

#include "process/identity.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/system_call.hpp"
#include "prefork/error.hpp"

namespace prefork::process {
namespace {

// One per process, not per pool: what this process is. Set before the first task, never changed
// after.
bool is_worker = false;

}  // namespace

role current_role() noexcept { return is_worker ? role::worker : role::host; }

void become_worker() noexcept { is_worker = true; }

host_mark::host_mark() {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const mapped =
        ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) base::throw_system_error(errno, "mmap for the identity page");
    if (::madvise(mapped, page, MADV_WIPEONFORK) != 0) {
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

void host_mark::require(const std::string& pool_name) const {
    if (is_here()) return;
    throw wrong_process("pool '" + pool_name +
                        "' was made by the process that this one was forked from");
}

}  // namespace prefork::process

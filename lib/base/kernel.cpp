#include "base/kernel.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.hpp"

// Each is asked in a way that does nothing where it is there.

namespace prefork::base {
namespace {

bool has_close_range() {
#ifdef SYS_close_range
    return ::syscall(SYS_close_range, ~0u, ~0u, 0) == 0;
#else
    return false;
#endif
}

bool has_futex_waitv() {
    constexpr long sys_futex_waitv = 449;  // Linux 5.16
    return ::syscall(sys_futex_waitv, nullptr, 0, 0, nullptr, 0) == -1 && errno == EINVAL;
}

bool has_populate_write() {
    constexpr int madv_populate_write = 23;  // Linux 5.14
    return ::madvise(nullptr, 0, madv_populate_write) == 0;
}

bool has_noexec_seal() {
    constexpr unsigned mfd_noexec_seal = 8;  // Linux 6.3
    return unique_fd{::memfd_create("prefork", MFD_CLOEXEC | mfd_noexec_seal)}.get() >= 0;
}

bool has_list_of_children() {
    const std::string self = std::to_string(::getpid());
    return ::access(("/proc/" + self + "/task/" + self + "/children").c_str(), R_OK) == 0;
}

}  // namespace

std::string kernel_offers() {
    const struct {
        const char* name;
        bool there;
    } offers[] = {
        {"close_range", has_close_range()},
        {"futex_waitv", has_futex_waitv()},
        {"MADV_POPULATE_WRITE", has_populate_write()},
        {"MFD_NOEXEC_SEAL", has_noexec_seal()},
        {"lists of children in /proc", has_list_of_children()},
    };
    std::string there, missing;
    for (const auto& [name, is_there] : offers) {
        std::string& list = is_there ? there : missing;
        list += (list.empty() ? "" : ", ") + std::string(name);
    }
    utsname kernel{};
    ::uname(&kernel);
    std::string text = std::string(kernel.sysname) + " " + kernel.release + ": ";
    text += there.empty() ? "none of what is used where it is there" : there;
    if (!missing.empty()) text += "; not: " + missing;
    return text;
}

}  // namespace prefork::base

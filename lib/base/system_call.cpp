#include "base/system_call.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "base/fail_point.hpp"

namespace prefork::base {

void throw_system_error(int error, std::string what) {
    throw std::system_error(error, std::generic_category(), what);
}

unique_fd above_standard_streams(int fd) noexcept {
    if (fd < 0 || fd > STDERR_FILENO) return unique_fd{fd};
    const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    const int error = errno;
    ::close(fd);
    errno = error;
    return unique_fd{moved};
}

unique_fd memfd_create(const char* name, unsigned flags) {
    unique_fd made = above_standard_streams(::memfd_create(name, flags));
    checked(made.get(), "memfd_create");
    return made;
}

unique_fd pidfd_open(pid_t pid) {
    unique_fd made = above_standard_streams(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    checked(made.get(), "pidfd_open (needs Linux 5.3)");
    return made;
}

bool pidfd_send_signal(int pidfd, int signal) noexcept {
    fail_point::pass("system.pidfd_send_signal");
    return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

bool pidfd_ended(int pidfd, nanoseconds wait) noexcept {
    return wait_readable(pidfd, deadline_after(monotonic::now(), wait));
}

namespace {

// Reads directory entries with the raw call: opendir() allocates, which a child of a threaded host
// must not do.
bool close_listed_in_proc(unsigned first, unsigned last) noexcept {
    const int directory = fail_point::refused("system.descriptors_open")
                              ? -1
                              : ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return false;
    struct entry {
        ino64_t inode;
        off64_t offset;
        unsigned short length;
        unsigned char type;
        char name[1];
    };
    alignas(entry) char buffer[4096];
    // Closing while reading is fine for /proc: entries are numbered by descriptor.
    long size = 0;
    for (;;) {
        size = fail_point::refused("system.getdents64")
                   ? -1
                   : ::syscall(SYS_getdents64, directory, buffer, sizeof buffer);
        if (size <= 0) break;
        for (long at = 0; at < size;) {
            const auto* one = reinterpret_cast<const entry*>(buffer + at);
            at += one->length;
            if (one->name[0] < '0' || one->name[0] > '9') continue;
            const auto fd = static_cast<unsigned>(std::strtoul(one->name, nullptr, 10));
            if (fd >= first && fd <= last && fd != static_cast<unsigned>(directory)) {
                ::close(static_cast<int>(fd));
            }
        }
    }
    ::close(directory);
    return size == 0;
}

}  // namespace

void close_range(unsigned first, unsigned last) noexcept {
    if (first > last) return;
#ifdef SYS_close_range
    if (!fail_point::refused("system.close_range") &&
        ::syscall(SYS_close_range, first, last, 0) == 0) {
        return;
    }
#endif
    if (close_listed_in_proc(first, last)) return;
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const auto top = static_cast<unsigned>(std::min<rlim_t>(limit.rlim_max, 1u << 20));
    for (unsigned fd = first; fd < top && fd <= last; ++fd) ::close(static_cast<int>(fd));
}

std::string read_small_file(const std::string& path) {
    const unique_fd file{
        fail_point::refused("system.open") ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    std::string text;
    char buffer[4096];
    while (file) {
        std::size_t most = sizeof buffer;
        const ssize_t size =
            fail_point::refused("system.read", most) ? -1 : ::read(file.get(), buffer, most);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) break;
        text.append(buffer, static_cast<std::size_t>(size));
    }
    return text;
}

bool write_all(int fd, const void* bytes, std::size_t size) noexcept {
    const char* at = static_cast<const char*>(bytes);
    while (size > 0) {
        const ssize_t written = fail_point::refused("system.write") ? -1 : ::write(fd, at, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        at += written;
        size -= static_cast<std::size_t>(written);
    }
    return true;
}

bool wait_readable(int fd, time_point deadline) noexcept {
    pollfd one{fd, POLLIN, 0};
    for (;;) {
        int milliseconds = -1;
        if (deadline != never) {
            const auto left =
                std::chrono::ceil<std::chrono::milliseconds>(deadline - monotonic::now());
            milliseconds = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
        }
        const int ready = fail_point::refused("system.poll") ? -1 : ::poll(&one, 1, milliseconds);
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
        if (deadline != never && monotonic::now() >= deadline) return false;
    }
}

bool proc_is_ours() noexcept {
    char number[16] = {};
    if (::readlink("/proc/self", number, sizeof number - 1) <= 0) return false;
    return std::strtol(number, nullptr, 10) == ::getpid();
}

unsigned thread_count() noexcept {
    DIR* const tasks =
        fail_point::refused("system.count_opendir") ? nullptr : ::opendir("/proc/self/task");
    if (tasks == nullptr) return 0;
    unsigned count = 0;
    while (const dirent* one = ::readdir(tasks)) count += one->d_name[0] != '.';
    ::closedir(tasks);
    return count;
}

std::vector<std::string> names_of_other_threads() {
    std::vector<pid_t> threads;
    DIR* const tasks =
        fail_point::refused("system.names_opendir") ? nullptr : ::opendir("/proc/self/task");
    if (tasks == nullptr) return {};
    const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
    while (const dirent* one = ::readdir(tasks)) {
        const auto thread = static_cast<pid_t>(std::strtol(one->d_name, nullptr, 10));
        if (thread > 0 && thread != self) threads.push_back(thread);
    }
    ::closedir(tasks);
    std::sort(threads.begin(), threads.end());
    std::vector<std::string> names;
    for (const pid_t each : threads) {
        std::string name = read_small_file("/proc/self/task/" + std::to_string(each) + "/comm");
        if (name.empty()) continue;  // it has ended meanwhile
        if (name.back() == '\n') name.pop_back();
        names.push_back(std::move(name));
    }
    return names;
}

}  // namespace prefork::base

#include "process/child_setup.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "base/fail_point.hpp"
#include "base/signal_mask.hpp"
#include "base/system_call.hpp"

namespace prefork::process {

void become_child(const worker_start& start, std::string_view pool_name,
                  const std::vector<int>& keep_fds) noexcept {
    base::fail_point::pass("worker.born");
    ::setpgid(0, 0);
    // Of the server's only thread, so its end is the server's end. Then the look at the parent: it
    // may have died before the call.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != start.server) ::_exit(0);
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    base::reset_signals_in_child();
    name_process(pool_name, std::to_string(start.index));
    std::vector<int> keep = keep_fds;
    keep.push_back(start.report_fd);
    close_all_but(std::move(keep));
    raise_oom_score();
    base::fail_point::pass("worker.set_up");
}

void name_process(std::string_view whole) noexcept {
    short_name name{};
    whole.copy(name.data(), name.size() - 1);
    ::prctl(PR_SET_NAME, name.data());
}

short_name name_of(std::string_view pool_name, std::string_view part) noexcept {
    short_name name;
    const auto room = static_cast<int>(name.size() - 2 - part.size());
    std::snprintf(name.data(), name.size(), "%.*s/%.*s",
                  std::min(room, static_cast<int>(pool_name.size())), pool_name.data(),
                  static_cast<int>(part.size()), part.data());
    return name;
}

void name_process(std::string_view pool_name, std::string_view part) noexcept {
    ::prctl(PR_SET_NAME, name_of(pool_name, part).data());
}

void close_all_but(std::vector<int> keep) noexcept {
    std::sort(keep.begin(), keep.end());
    unsigned first = 3;
    for (const int each : keep) {
        if (each < 3) continue;
        const auto fd = static_cast<unsigned>(each);
        if (fd > first) base::close_range(first, fd - 1);
        first = std::max(first, fd + 1);
    }
    base::close_range(first, ~0u);
}

void limit_data(std::uint64_t bytes) noexcept {
    if (bytes == 0) return;
    const std::string status = base::read_small_file("/proc/self/status");
    const auto at = status.find("VmData:");
    rlimit limit{};
    // Without knowing what there is, a limit would be on the program, not on its growth.
    if (at == std::string::npos || ::getrlimit(RLIMIT_DATA, &limit) != 0) return;
    const std::uint64_t now = std::strtoull(status.c_str() + at + 7, nullptr, 10) * 1024;
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, now + bytes);
    if (base::fail_point::refused("worker.setrlimit")) return;
    ::setrlimit(RLIMIT_DATA, &limit);
}

void raise_oom_score() noexcept {
    const base::unique_fd file{base::fail_point::refused("worker.oom_open")
                                   ? -1
                                   : ::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC)};
    if (!file) return;
    char text[16] = {};
    const ssize_t size = base::fail_point::refused("worker.oom_read")
                             ? -1
                             : ::read(file.get(), text, sizeof text - 1);
    const long now = size > 0 ? std::strtol(text, nullptr, 10) : 0;
    // Raising needs no privilege. 500 of 1000: well before the host, not before a runaway.
    const int length = std::snprintf(text, sizeof text, "%ld", std::min(now + 500, 1000L));
    static_cast<void>(::lseek(file.get(), 0, SEEK_SET));
    static_cast<void>(base::write_all(file.get(), text, static_cast<std::size_t>(length)));
}

}  // namespace prefork::process

#include "process/memory_use.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <string>
#include <string_view>

#include "base/system_call.hpp"

namespace prefork::process {
namespace {

// "pid (name) state …", where the name may hold anything; the 22nd is the start, in ticks since
// boot.
std::int64_t start_of(pid_t pid) {
    const std::string stat = base::read_small_file("/proc/" + std::to_string(pid) + "/stat");
    const auto name_end = stat.rfind(')');
    if (name_end == std::string::npos) return 0;
    std::istringstream fields{stat.substr(name_end + 1)};
    std::string skipped;
    for (int field = 3; field < 22; ++field) fields >> skipped;
    std::int64_t ticks = 0;
    fields >> ticks;
    return ticks;
}

std::uint64_t family_memory(pid_t pid, int generations, std::int64_t since) {
    std::uint64_t sum = private_memory(pid);
    if (generations == 0) return sum;
    const std::string self = std::to_string(pid);
    std::istringstream children{
        base::read_small_file("/proc/" + self + "/task/" + self + "/children")};
    for (pid_t child = 0; children >> child;) {
        if (since == 0 || start_of(child) >= since) {
            sum += family_memory(child, generations - 1, since);
        }
    }
    return sum;
}

}  // namespace

std::uint64_t private_memory(pid_t pid) {
    const std::string text = base::read_small_file("/proc/" + std::to_string(pid) + "/statm");
    unsigned long resident = 0;
    unsigned long shared = 0;
    if (std::sscanf(text.c_str(), "%*u %lu %lu", &resident, &shared) != 2) return 0;
    return (resident - std::min(resident, shared)) *
           static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t peak_memory(pid_t pid) {
    constexpr std::string_view line = "VmHWM:";
    const std::string text = base::read_small_file("/proc/" + std::to_string(pid) + "/status");
    const auto at = text.find(line);
    if (at == std::string::npos) return 0;
    return std::strtoull(text.c_str() + at + line.size(), nullptr, 10) * 1024;
}

std::uint64_t family_memory(pid_t pid) { return family_memory(pid, 8, 0); }

std::uint64_t family_memory(pid_t pid, base::nanoseconds since) {
    const std::int64_t ticks = since.count() / (1'000'000'000 / ::sysconf(_SC_CLK_TCK));
    return family_memory(pid, 8, std::max<std::int64_t>(ticks, 1));
}

base::nanoseconds since_boot() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + base::nanoseconds(now.tv_nsec);
}

}  // namespace prefork::process

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

std::uint64_t kibibytes_in(const std::string& text, std::string_view label) {
    const auto at = text.find(label);
    if (at == std::string::npos) return 0;
    return std::strtoull(text.c_str() + at + label.size(), nullptr, 10) * 1024;
}

// Pages that nobody else maps. Of what a child still shares with its parent since the fork, the
// parent has the pages. The kernel walks through the page tables for it, and has it since 4.14.
std::uint64_t unshared_memory(pid_t pid) {
    const std::string text =
        base::read_small_file("/proc/" + std::to_string(pid) + "/smaps_rollup");
    const std::uint64_t at_most = private_memory(pid);
    if (text.empty()) return at_most;
    return std::min(kibibytes_in(text, "\nPrivate_Dirty:"), at_most);
}

template <class Measure>
std::uint64_t children_memory(pid_t pid, Measure measure, std::int64_t since, int generations = 8) {
    std::uint64_t sum = 0;
    const std::string self = std::to_string(pid);
    std::istringstream children{
        base::read_small_file("/proc/" + self + "/task/" + self + "/children")};
    for (pid_t child = 0; children >> child;) {
        if (start_of(child) < since) continue;
        sum += measure(child);
        if (generations > 1) sum += children_memory(child, measure, since, generations - 1);
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
    return kibibytes_in(base::read_small_file("/proc/" + std::to_string(pid) + "/status"),
                        "\nVmHWM:");
}

std::uint64_t family_memory_at_most(pid_t pid) {
    return private_memory(pid) + children_memory(pid, private_memory, 0);
}

std::uint64_t family_memory(pid_t pid, base::nanoseconds since) {
    const std::int64_t ticks = since.count() / (1'000'000'000 / ::sysconf(_SC_CLK_TCK));
    return private_memory(pid) + children_memory(pid, unshared_memory, ticks);
}

base::nanoseconds since_boot() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + base::nanoseconds(now.tv_nsec);
}

}  // namespace prefork::process

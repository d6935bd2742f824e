#include "process/memory_use.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>

#include "base/system_call.hpp"

namespace prefork::process {
namespace {

std::uint64_t family_memory(pid_t pid, int generations) {
    std::uint64_t sum = private_memory(pid);
    if (generations == 0) return sum;
    const std::string self = std::to_string(pid);
    std::istringstream children{
        base::read_small_file("/proc/" + self + "/task/" + self + "/children")};
    for (pid_t child = 0; children >> child;) sum += family_memory(child, generations - 1);
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

std::uint64_t family_memory(pid_t pid) { return family_memory(pid, 8); }

}  // namespace prefork::process

#include "gate/usable_cpus.hpp"

#include <dirent.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <set>
#include <sstream>

#include "base/cgroup.hpp"
#include "base/fail_point.hpp"
#include "base/system_call.hpp"
#include "prefork/gate.hpp"

namespace prefork::gate {
namespace {

template <class Number>
std::optional<Number> number(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::istringstream stream{text};
    for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
    return parts;
}

class reader {
  public:
    explicit reader(cpu_limits& limits) : limits_(limits) {}

    void quota_v2(const std::string& directory) {
        const std::string file = directory + "/cpu.max";
        const std::vector<std::string> words = split(base::read_small_file(file), ' ');
        if (words.size() != 2 || words[0] == "max") return;
        take_quota(number<double>(words[0]), number<double>(words[1]), file);
    }
    void quota_v1(const std::string& directory) {
        const std::string file = directory + "/cpu.cfs_quota_us";
        take_quota(number<double>(base::read_small_file(file)),
                   number<double>(base::read_small_file(directory + "/cpu.cfs_period_us")), file);
    }
    void cpuset(const std::string& directory, const char* name) {
        const std::string file = directory + "/" + name;
        const auto count = count_cpu_list(base::read_small_file(file));
        if (!count || (limits_.cpuset && *limits_.cpuset <= *count)) return;
        limits_.cpuset = count;
        limits_.notes.push_back("cpuset of " + std::to_string(*count) + " CPUs (" + file + ")");
    }

  private:
    void take_quota(std::optional<double> quota, std::optional<double> period,
                    const std::string& file) {
        // A quota of −1 is v1's word for none.
        if (!quota || !period || !(*quota > 0) || !(*period > 0)) return;
        const double cpus = *quota / *period;
        if (!std::isfinite(cpus) || (limits_.quota && *limits_.quota <= cpus)) return;
        limits_.quota = cpus;
        std::ostringstream note;
        note << "CPU quota of " << cpus << " CPUs (" << file << ")";
        limits_.notes.push_back(note.str());
    }

    cpu_limits& limits_;
};

}  // namespace

std::optional<unsigned> count_cpu_list(const std::string& text) {
    std::string list = text;
    while (!list.empty() && (list.back() == '\n' || list.back() == ' ')) list.pop_back();
    unsigned count = 0;
    for (const std::string& part : split(list, ',')) {
        const auto dash = part.find('-');
        const auto first = number<unsigned>(part.substr(0, dash));
        const auto last =
            dash == std::string::npos ? first : number<unsigned>(part.substr(dash + 1));
        // No machine has a million CPUs; a file that says so is broken.
        if (!first || !last || *last < *first || *last > 1'000'000) return std::nullopt;
        count += *last - *first + 1;
    }
    return count > 0 ? std::optional{count} : std::nullopt;
}

cpu_limits read_cpu_limits(const std::string& root, unsigned affinity) {
    cpu_limits limits;
    limits.affinity = std::max(affinity, 1u);
    limits.notes.push_back("affinity mask of " + std::to_string(limits.affinity) + " CPUs");
    reader into{limits};
    for (const auto& [path, version] : base::cgroup_directories(root, "cpu")) {
        if (version == base::cgroup_version::v2) {
            into.quota_v2(path);
        } else {
            into.quota_v1(path);
        }
    }
    for (const auto& [path, version] : base::cgroup_directories(root, "cpuset")) {
        if (version == base::cgroup_version::v2) {
            into.cpuset(path, "cpuset.cpus.effective");
        } else {
            into.cpuset(path, "cpuset.effective_cpus");
            into.cpuset(path, "cpuset.cpus");
        }
    }
    limits.usable = limits.affinity;
    if (limits.cpuset) limits.usable = std::min(limits.usable, *limits.cpuset);
    if (limits.quota) {
        limits.usable = static_cast<unsigned>(
            std::min<double>(limits.usable, std::max(1.0, std::ceil(*limits.quota))));
    }
    return limits;
}

namespace {

struct free_cpu_set {
    void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
};
using cpu_mask = std::unique_ptr<cpu_set_t, free_cpu_set>;

void add_mask_of(pid_t thread, std::set<unsigned>& cpus) {
    // The kernel refuses a mask smaller than its own (EINVAL): grown until it fits.
    for (int bits = 1024; bits <= (1 << 20); bits *= 2) {
        const cpu_mask mask{CPU_ALLOC(static_cast<std::size_t>(bits))};
        const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(bits));
        CPU_ZERO_S(size, mask.get());
        if (base::fail_point::refused("gate.sched_getaffinity") ||
            ::sched_getaffinity(thread, size, mask.get()) != 0) {
            if (errno == EINVAL) continue;
            return;
        }
        for (unsigned cpu = 0; cpu < static_cast<unsigned>(bits); ++cpu) {
            if (CPU_ISSET_S(cpu, size, mask.get())) cpus.insert(cpu);
        }
        return;
    }
}

}  // namespace

std::vector<unsigned> process_affinity() {
    std::set<unsigned> cpus;
    if (DIR* const tasks =
            base::fail_point::refused("gate.opendir") ? nullptr : ::opendir("/proc/self/task")) {
        while (const dirent* one = ::readdir(tasks)) {
            const long thread = std::strtol(one->d_name, nullptr, 10);
            if (thread > 0) add_mask_of(static_cast<pid_t>(thread), cpus);
        }
        ::closedir(tasks);
    }
    if (cpus.empty()) add_mask_of(0, cpus);
    return {cpus.begin(), cpus.end()};
}

bool set_affinity(const std::vector<unsigned>& cpus) noexcept {
    if (cpus.empty()) return false;
    const std::size_t bits = cpus.back() + 1;
    cpu_set_t* const mask = CPU_ALLOC(bits);
    if (mask == nullptr) return false;
    const std::size_t size = CPU_ALLOC_SIZE(bits);
    CPU_ZERO_S(size, mask);
    for (const unsigned cpu : cpus) CPU_SET_S(cpu, size, mask);
    const bool set = !base::fail_point::refused("gate.sched_setaffinity") &&
                     ::sched_setaffinity(0, size, mask) == 0;
    CPU_FREE(mask);
    return set;
}

}  // namespace prefork::gate

namespace prefork {

unsigned usable_cpus() {
    return gate::read_cpu_limits("", static_cast<unsigned>(gate::process_affinity().size())).usable;
}

}  // namespace prefork

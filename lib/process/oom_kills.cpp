#include "process/oom_kills.hpp"

#include <sstream>

#include "base/cgroup.hpp"
#include "base/system_call.hpp"

namespace prefork::process {
namespace {

constexpr const char* counter_line = "oom_kill ";

}  // namespace

oom_kills::oom_kills(const std::string& root) {
    for (const auto& [path, version] : base::cgroup_directories(root, "memory")) {
        const bool v2 = version == base::cgroup_version::v2;
        std::string file = path + (v2 ? "/memory.events" : "/memory.oom_control");
        if (base::read_small_file(file).find(counter_line) == std::string::npos) continue;
        file_ = std::move(file);
        break;
    }
    taken_ = count();
}

bool oom_kills::take() {
    if (count() <= taken_) return false;
    ++taken_;
    return true;
}

std::uint64_t oom_kills::count() const {
    if (file_.empty()) return 0;
    std::istringstream lines{base::read_small_file(file_)};
    std::string name;
    for (std::uint64_t value = 0; lines >> name >> value;) {
        if (name == "oom_kill") return value;
    }
    return 0;
}

}  // namespace prefork::process

#include "memory/cgroup_room.hpp"

#include <algorithm>
#include <limits>
#include <new>
#include <optional>
#include <sstream>

#include "base/system_call.hpp"

namespace prefork::memory {
namespace {

constexpr std::uint64_t without_end = std::numeric_limits<std::uint64_t>::max();
// Others grow too between two looks, by memory that nobody tells us of: so much at most is taken on
// what one of them said, and only so soon after it that looks take a thirtieth of the time.
constexpr std::uint64_t most_trusted = std::uint64_t{16} << 20;
constexpr std::chrono::milliseconds longest_trusted{1};

// Nothing where there is no limit: no file, or "max".
std::optional<std::uint64_t> number_in(const std::string& path) {
    std::uint64_t value = 0;
    std::istringstream text{base::read_small_file(path)};
    if (!(text >> value)) return std::nullopt;
    return value;
}

// Page cache, which the kernel takes back before it ends anybody.
std::uint64_t reclaimable(const base::cgroup_directory& of) {
    const std::string prefix = of.version == base::cgroup_version::v2 ? "" : "total_";
    std::istringstream lines{base::read_small_file(of.path + "/memory.stat")};
    std::uint64_t sum = 0;
    std::uint64_t value = 0;
    for (std::string name; lines >> name >> value;) {
        if (name == prefix + "inactive_file" || name == prefix + "active_file") sum += value;
    }
    return sum;
}

std::uint64_t room_in(const base::cgroup_directory& one) {
    const bool v2 = one.version == base::cgroup_version::v2;
    const auto limit = number_in(one.path + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (!limit) return without_end;
    const auto used = number_in(one.path + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    if (!used) return without_end;
    const std::uint64_t usable = *limit - *limit / 4;
    const std::uint64_t held = *used - std::min(*used, reclaimable(one));
    return usable - std::min(usable, held);
}

}  // namespace

cgroup_room::cgroup_room(const std::string& root)
    : cgroups_(base::cgroup_directories(root, "memory")) {}

std::uint64_t cgroup_room::now() const {
    std::uint64_t room = without_end;
    for (const base::cgroup_directory& each : cgroups_) room = std::min(room, room_in(each));
    return room;
}

bool cgroup_room::has(std::uint64_t bytes, std::uint64_t shared, base::time_point now) noexcept {
    if (cgroups_.empty() || (shared <= trusted_to_ && now < trusted_until_)) return true;
    return look(bytes, shared, now);
}

bool cgroup_room::look(std::uint64_t bytes, std::uint64_t shared, base::time_point now) noexcept {
    trusted_to_ = 0;
    try {
        const std::uint64_t room = this->now();
        if (bytes > room) return false;
        trusted_to_ = shared + std::min((room - bytes) / 4, most_trusted);
        trusted_until_ = room == without_end ? base::time_point::max() : now + longest_trusted;
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace prefork::memory

#include "memory/cgroup_room.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <new>
#include <optional>
#include <string_view>

#include "base/system_call.hpp"

namespace prefork::memory {
namespace {

constexpr std::uint64_t without_end = std::numeric_limits<std::uint64_t>::max();
// v1 says the largest multiple of a page that a signed number has.
constexpr std::uint64_t no_limit = std::uint64_t{1} << 62;
// Others grow too between two looks, by memory that nobody tells us of: so much at most is taken on
// what one of them said, and only so soon after it that looks take a thirtieth of the time.
constexpr std::uint64_t most_trusted = std::uint64_t{16} << 20;
constexpr std::chrono::milliseconds longest_trusted{1};

std::optional<std::uint64_t> number_at(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end == text.data()) return std::nullopt;
    return value;
}

// Nothing where there is no limit: no file, or "max".
std::optional<std::uint64_t> number_in(const std::string& path) {
    return number_at(base::read_small_file(path));
}

// Page cache, which the kernel takes back before it ends anybody.
std::uint64_t reclaimable(const base::cgroup_directory& of) {
    const std::string stat = base::read_small_file(of.path + "/memory.stat");
    // Never the first line.
    const std::string prefix = of.version == base::cgroup_version::v2 ? "\n" : "\ntotal_";
    std::uint64_t sum = 0;
    for (const char* const kind : {"inactive_file ", "active_file "}) {
        const std::string name = prefix + kind;
        const auto at = stat.find(name);
        if (at == std::string::npos) continue;
        sum += number_at(std::string_view{stat}.substr(at + name.size())).value_or(0);
    }
    return sum;
}

// Exactly, if it is less than `enough`.
std::uint64_t room_in(const base::cgroup_directory& one, std::uint64_t enough) {
    const bool v2 = one.version == base::cgroup_version::v2;
    const auto limit = number_in(one.path + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (!limit || *limit >= no_limit) return without_end;
    const auto used = number_in(one.path + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    if (!used) return without_end;
    const std::uint64_t usable = *limit - *limit / 4;
    std::uint64_t room = usable - std::min(usable, *used);
    if (room < enough) room = usable - std::min(usable, *used - std::min(*used, reclaimable(one)));
    return room;
}

}  // namespace

cgroup_room::cgroup_room(const std::string& root)
    : cgroups_(base::cgroup_directories(root, "memory")) {}

std::uint64_t cgroup_room::now(std::uint64_t enough) const {
    std::uint64_t room = without_end;
    for (const base::cgroup_directory& each : cgroups_) {
        room = std::min(room, room_in(each, enough));
    }
    return room;
}

bool cgroup_room::has(std::uint64_t bytes, std::uint64_t shared, base::time_point now) noexcept {
    if (cgroups_.empty() || (shared <= trusted_to_ && now < trusted_until_)) return true;
    return look(bytes, shared, now);
}

bool cgroup_room::look(std::uint64_t bytes, std::uint64_t shared, base::time_point now) noexcept {
    trusted_to_ = 0;
    try {
        const std::uint64_t room = this->now(bytes + 4 * most_trusted);
        if (bytes > room) return false;
        trusted_to_ = shared + std::min((room - bytes) / 4, most_trusted);
        trusted_until_ = room == without_end ? base::time_point::max() : now + longest_trusted;
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace prefork::memory

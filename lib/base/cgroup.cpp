#include "base/cgroup.hpp"

#include <algorithm>
#include <sstream>

#include "base/system_call.hpp"

namespace prefork::base {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::istringstream stream{text};
    for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
    return parts;
}

bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// A cgroup hierarchy that is mounted: where, and which cgroup is at its top.
struct cgroup_mount {
    std::string point;
    std::string top;
    cgroup_version version;
    std::vector<std::string> controllers;  // v1
};

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue" (proc(5))
std::vector<cgroup_mount> cgroup_mounts(const std::string& root) {
    std::vector<cgroup_mount> mounts;
    for (const std::string& line : split(read_small_file(root + "/proc/self/mountinfo"), '\n')) {
        const std::vector<std::string> words = split(line, ' ');
        const auto dash = std::find(words.begin(), words.end(), "-");
        if (words.size() < 10 || words.end() - dash < 4) continue;
        if (dash[1] != "cgroup" && dash[1] != "cgroup2") continue;
        const auto version = dash[1] == "cgroup" ? cgroup_version::v1 : cgroup_version::v2;
        mounts.push_back({words[4], words[3], version, split(dash[3], ',')});
    }
    return mounts;
}

/// The directories from `path` up to the mount's top, nearest first.
void add_directories(const std::string& root, const cgroup_mount& mount, std::string path,
                     std::vector<cgroup_directory>& to) {
    // In a container the path may be the host's, and the mount's top the container's own cgroup.
    if (mount.top != "/" && path.rfind(mount.top, 0) == 0) path.erase(0, mount.top.size());
    // A path that leads out of a cgroup namespace ("/../x") ends at what we can see.
    if (path.rfind("/..", 0) == 0) path.clear();
    for (;;) {
        if (path == "/") path.clear();
        to.push_back({root + mount.point + path, mount.version});
        if (path.empty()) return;
        const auto slash = path.find_last_of('/');
        path.resize(slash == std::string::npos ? 0 : slash);
    }
}

}  // namespace

std::vector<cgroup_directory> cgroup_directories(const std::string& root,
                                                 const std::string& controller) {
    std::vector<cgroup_directory> all;
    const std::vector<cgroup_mount> mounts = cgroup_mounts(root);
    for (const std::string& line : split(read_small_file(root + "/proc/self/cgroup"), '\n')) {
        // "4:cpu,cpuacct:/user.slice", and "0::/user.slice" for v2 (cgroups(7))
        const auto first = line.find(':');
        const auto second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos || second + 1 >= line.size()) continue;
        const auto version = second == first + 1 ? cgroup_version::v2 : cgroup_version::v1;
        const auto names = split(line.substr(first + 1, second - first - 1), ',');
        if (version == cgroup_version::v1 && !has(names, controller)) continue;
        for (const cgroup_mount& mount : mounts) {
            if (mount.version != version) continue;
            if (version == cgroup_version::v1 && !has(mount.controllers, controller)) continue;
            add_directories(root, mount, line.substr(second + 1), all);
        }
    }
    return all;
}

}  // namespace prefork::base

#pragma once

#include <fstream>
#include <set>
#include <string>

namespace prefork::test {

/// Files behind mappings of regions in this process.
inline int mapped_regions() {
    std::set<std::string> inodes;
    std::ifstream maps{"/proc/self/maps"};
    std::string range, access, offset, device, inode, name;
    while (maps >> range >> access >> offset >> device >> inode && std::getline(maps, name)) {
        if (name.find("memfd:prefork") != std::string::npos) inodes.insert(inode);
    }
    return static_cast<int>(inodes.size());
}

}  // namespace prefork::test

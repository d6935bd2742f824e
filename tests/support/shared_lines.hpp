#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>

// Which cache lines of a pool's region are written: each of them travels from one core to another.

namespace prefork::test {

/// What the region's pages hold at one moment. Of the only pool of this process.
class shared_lines {
  public:
    static constexpr std::size_t line_bytes = 64;

    shared_lines() : shared_lines(region_fd()) {}

    /// How many lines differ. One that was written with what it held before isn't seen.
    [[nodiscard]] std::size_t changed_since(const shared_lines& before) const {
        static const page zeros{};
        std::size_t lines = 0;
        for (const auto& [at, now] : pages_) {
            const auto found = before.pages_.find(at);
            const page& then = found == before.pages_.end() ? zeros : found->second;
            for (std::size_t i = 0; i < now.size(); i += line_bytes) {
                lines += std::memcmp(now.data() + i, then.data() + i, line_bytes) != 0;
            }
        }
        return lines;
    }

  private:
    using page = std::array<std::byte, 4096>;

    explicit shared_lines(int region) {
        for (off_t at = 0; (at = ::lseek(region, at, SEEK_DATA)) >= 0;) {
            const off_t end = ::lseek(region, at, SEEK_HOLE);
            for (; at < end; at += static_cast<off_t>(sizeof(page))) {
                page bytes;
                if (::pread(region, bytes.data(), bytes.size(), at) !=
                    static_cast<ssize_t>(bytes.size())) {
                    throw std::runtime_error{"a page of the region can't be read"};
                }
                // A ring has thousands of them that nobody has used.
                const auto is_zero = [](std::byte each) { return each == std::byte{0}; };
                if (!std::all_of(bytes.begin(), bytes.end(), is_zero)) pages_[at] = bytes;
            }
        }
    }
    static int region_fd() {
        for (const auto& each : std::filesystem::directory_iterator{"/proc/self/fd"}) {
            std::error_code gone;
            const std::string name = std::filesystem::read_symlink(each.path(), gone).string();
            if (name.find("memfd:prefork") != std::string::npos) {
                return std::stoi(each.path().filename().string());
            }
        }
        throw std::runtime_error{"no region has a descriptor in this process"};
    }

    std::map<off_t, page> pages_;
};

}  // namespace prefork::test

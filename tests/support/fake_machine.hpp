#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace prefork::test {

/// A machine's /proc and /sys in a directory of its own, for what reads below a given root.
class fake_machine {
  public:
    fake_machine() {
        std::string name = (std::filesystem::temp_directory_path() / "machine-XXXXXX").string();
        root_ = ::mkdtemp(name.data());
    }
    ~fake_machine() { std::filesystem::remove_all(root_); }
    fake_machine(const fake_machine&) = delete;
    fake_machine& operator=(const fake_machine&) = delete;

    [[nodiscard]] std::string root() const { return root_.string(); }

    void write(const std::string& path, const std::string& text) const {
        const std::filesystem::path to = root() + path;
        std::filesystem::create_directories(to.parent_path());
        std::ofstream{to} << text;
    }
    /// cgroups v2 at /sys/fs/cgroup, the process in `path`, the mount's top being `top`.
    void v2(const std::string& path, const std::string& top = "/") const {
        write("/proc/self/mountinfo",
              "30 23 0:26 " + top + " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
        write("/proc/self/cgroup", "0::" + path + "\n");
    }
    /// The memory controller of v1 at /sys/fs/cgroup/memory, among others.
    void v1_memory(const std::string& path) const {
        write("/proc/self/mountinfo",
              "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
              "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
        write("/proc/self/cgroup",
              "12:cpu,cpuacct:/wrong\n11:cpuset,memory:" + path + "\n1:name=systemd:/\n");
    }

  private:
    std::filesystem::path root_;
};

}  // namespace prefork::test

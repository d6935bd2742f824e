#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/cgroup.hpp"
#include "base/system_call.hpp"
#include "support/surroundings.hpp"
#include "support/until.hpp"

namespace prefork::test {

/// A cgroup below our own, which processes enter and a test sets limits to. It is removed at the
/// end, when they must have ended.
class own_cgroup {
  public:
    /// `files`: what must be in it, called so in v1 and in v2.
    struct file {
        const char* v1;
        const char* v2;
    };

    /// \throws cannot_be_made
    own_cgroup(const std::string& controller, file needed) {
        for (const auto& [path, version] : base::cgroup_directories("", controller)) {
            is_v2_ = version == base::cgroup_version::v2;
            path_ = path + "/prefork-test-" + std::to_string(::getpid());
            std::error_code refused;
            if (!std::filesystem::create_directory(path_, refused)) continue;
            if (std::filesystem::exists(path_ / name(needed), refused)) return;
            std::filesystem::remove(path_, refused);
        }
        throw cannot_be_made("no " + controller + " cgroup can be made");
    }
    ~own_cgroup() {
        static_cast<void>(until([&] {
            std::error_code busy;
            return std::filesystem::remove(path_, busy) || !busy;
        }));
    }
    own_cgroup(const own_cgroup&) = delete;
    own_cgroup& operator=(const own_cgroup&) = delete;

    void enter() const { write_file(path_ / "cgroup.procs", std::to_string(::getpid())); }
    void set(file which, const std::string& to) const { write_file(path_ / name(which), to); }
    [[nodiscard]] std::string get(file which) const {
        return base::read_small_file(path_ / name(which));
    }

    static constexpr file memory_limit{"memory.limit_in_bytes", "memory.max"};
    static constexpr file processes_limit{"pids.max", "pids.max"};
    static constexpr file processes{"pids.current", "pids.current"};
    static constexpr file freeze{"freezer.state", "cgroup.freeze"};

    /// Of memory, and of swap nothing, if it is limited at all: it would only be slow.
    void limit_memory(std::uint64_t bytes) const {
        // Both together may not be less than memory alone.
        limit_swap("-1");
        set(memory_limit, std::to_string(bytes));
        limit_swap(is_v2_ ? "0" : std::to_string(bytes));
    }
    /// All in it stand still, or go on: at once, as in a virtual machine that is paused.
    void hold(bool still) const {
        set(freeze, is_v2_ ? (still ? "1" : "0") : (still ? "FROZEN" : "THAWED"));
        const auto is_still = [&] {
            return is_v2_ ? get({"", "cgroup.events"}).find("frozen 1") != std::string::npos
                          : get(freeze) == "FROZEN\n";
        };
        expect(until([&] { return is_still() == still; }), "the cgroup doesn't freeze or thaw");
    }

  private:
    void limit_swap(const std::string& to) const {
        try {
            set({"memory.memsw.limit_in_bytes", "memory.swap.max"}, to);
        } catch (const cannot_be_made&) {
            // The kernel doesn't count it.
        }
    }
    [[nodiscard]] const char* name(file which) const { return is_v2_ ? which.v2 : which.v1; }

    std::filesystem::path path_;
    bool is_v2_ = false;
};

/// Runs `body` with a cgroup, or says why it can't.
template <class Body>
void with_cgroup(const std::string& controller, own_cgroup::file needed, Body body) {
    try {
        const own_cgroup made{controller, needed};
        body(made);
    } catch (const cannot_be_made& e) {
        left_out(e.what());
    }
}

}  // namespace prefork::test

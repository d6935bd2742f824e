#include "base/cgroup.hpp"

#include "support/catch.hpp"
#include "support/fake_machine.hpp"

using namespace prefork::base;

namespace {

class cgroups : public prefork::test::fake_machine {
  public:
    /// Without the root before them.
    [[nodiscard]] std::vector<std::string> directories(const std::string& controller) const {
        std::vector<std::string> paths;
        for (const auto& each : cgroup_directories(root(), controller)) {
            paths.push_back(each.path.substr(root().size()));
        }
        return paths;
    }
};

using paths = std::vector<std::string>;

}  // namespace

TEST_CASE("a v2 cgroup comes first, then each above it, whatever the controller") {
    const cgroups machine;
    machine.v2("/a/b");
    for (const char* controller : {"cpu", "memory"}) {
        CHECK(machine.directories(controller) ==
              paths{"/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"});
    }
    CHECK(cgroup_directories(machine.root(), "cpu").front().version == cgroup_version::v2);
}

TEST_CASE("a v1 controller is found in its own hierarchy, among others that share a line") {
    const cgroups machine;
    machine.v1_memory("/right");
    CHECK(machine.directories("memory") ==
          paths{"/sys/fs/cgroup/memory/right", "/sys/fs/cgroup/memory"});
    CHECK(cgroup_directories(machine.root(), "memory").front().version == cgroup_version::v1);
    CHECK(machine.directories("cpu") == paths{"/sys/fs/cgroup/cpu/wrong", "/sys/fs/cgroup/cpu"});
    CHECK(machine.directories("pids").empty());
}

TEST_CASE("in a container, what lies above its own cgroup can't be seen") {
    const cgroups machine;
    machine.v2("/docker/abc/inner", "/docker/abc");
    CHECK(machine.directories("cpu") == paths{"/sys/fs/cgroup/inner", "/sys/fs/cgroup"});
    machine.v2("/../elsewhere");
    CHECK(machine.directories("cpu") == paths{"/sys/fs/cgroup"});
}

TEST_CASE("without cgroups, and from lines that mean nothing, come no directories") {
    const cgroups machine;
    CHECK(machine.directories("cpu").empty());
    machine.v2("/a");
    machine.write("/proc/self/cgroup", "no colon\n1:only one\n::\n\n");
    CHECK(machine.directories("cpu").empty());
    machine.v2("/a");
    machine.write("/proc/self/mountinfo", "garbage\n1 2 3 4 5 6 7 8 9 - cgroup2\n\n");
    CHECK(machine.directories("cpu").empty());
}

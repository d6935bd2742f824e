#include "process/oom_kills.hpp"

#include "support/catch.hpp"
#include "support/fake_machine.hpp"

using prefork::process::oom_kills;
using prefork::test::fake_machine;

namespace {

std::string events(int kills) {
    return "low 0\nhigh 3\nmax 12\noom 2\noom_kill " + std::to_string(kills) +
           "\noom_group_kill 0\n";
}

}  // namespace

TEST_CASE("each kill after construction is taken once, those before it never") {
    const fake_machine machine;
    machine.v2("/service");
    const std::string file = "/sys/fs/cgroup/service/memory.events";
    machine.write(file, events(5));
    oom_kills kills{machine.root()};
    CHECK_FALSE(kills.take());
    machine.write(file, events(7));
    CHECK(kills.take());
    CHECK(kills.take());
    CHECK_FALSE(kills.take());
}

TEST_CASE("v1 counts in another file, beside a word that looks alike") {
    const fake_machine machine;
    machine.v1_memory("/service");
    const std::string file = "/sys/fs/cgroup/memory/service/memory.oom_control";
    machine.write(file, "oom_kill_disable 9\nunder_oom 0\noom_kill 0\n");
    oom_kills kills{machine.root()};
    machine.write(file, "oom_kill_disable 9\nunder_oom 0\noom_kill 1\n");
    CHECK(kills.take());
    CHECK_FALSE(kills.take());
}

TEST_CASE("where no file counts, or one that can't be read, nothing was killed") {
    const fake_machine machine;
    oom_kills nowhere{machine.root()};
    CHECK_FALSE(nowhere.take());
    machine.v1_memory("/service");
    machine.write("/sys/fs/cgroup/memory/service/memory.oom_control", "oom_kill_disable 0\n");
    oom_kills old_kernel{machine.root()};
    CHECK_FALSE(old_kernel.take());
    machine.v2("/service");
    machine.write("/sys/fs/cgroup/service/memory.events", "oom_kill many\n");
    oom_kills garbled{machine.root()};
    CHECK_FALSE(garbled.take());
}

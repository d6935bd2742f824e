#include "gate/usable_cpus.hpp"

#include <string>
#include <thread>

#include "prefork/gate.hpp"
#include "support/catch.hpp"
#include "support/fake_machine.hpp"

using namespace prefork::gate;

namespace {

class limited_machine : public prefork::test::fake_machine {
  public:
    [[nodiscard]] cpu_limits limits(unsigned affinity) const {
        return read_cpu_limits(root(), affinity);
    }
};

}  // namespace

TEST_CASE("without cgroups the affinity mask alone counts") {
    const limited_machine machine;
    CHECK(machine.limits(6).usable == 6);
    CHECK(machine.limits(0).usable == 1);
}

TEST_CASE("a v2 quota is rounded up, and that of every ancestor counts") {
    const limited_machine machine;
    machine.v2("/a/b/c");
    machine.write("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    CHECK(machine.limits(8).usable == 8);
    machine.write("/sys/fs/cgroup/a/b/c/cpu.max", "350000 100000\n");
    CHECK(machine.limits(8).usable == 4);
    machine.write("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    CHECK(machine.limits(8).usable == 2);
    CHECK(machine.limits(1).usable == 1);
    machine.write("/sys/fs/cgroup/a/b/cpu.max", "1000 100000\n");
    CHECK(machine.limits(8).usable == 1);
}

TEST_CASE("a v1 quota and cpuset count, with every ancestor, beside a v2 hierarchy") {
    const limited_machine machine;
    machine.write("/proc/self/mountinfo",
                  "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                  "32 23 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                  "33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    machine.write("/proc/self/cgroup", "5:cpuset:/set\n4:cpu,cpuacct:/x/y\n0::/\n");
    machine.write("/sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_quota_us", "-1\n");
    machine.write("/sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_period_us", "100000\n");
    CHECK(machine.limits(16).usable == 16);
    machine.write("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "500000\n");
    machine.write("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    CHECK(machine.limits(16).usable == 5);
    machine.write("/sys/fs/cgroup/cpuset/set/cpuset.cpus", "0-2\n");
    CHECK(machine.limits(16).usable == 3);
    machine.write("/sys/fs/cgroup/unified/cpu.max", "200000 100000\n");
    const cpu_limits limits = machine.limits(16);
    CHECK(limits.usable == 2);
    CHECK(limits.notes.size() == 4);
}

TEST_CASE("in a container the path may be the host's, or lead out of what can be seen") {
    const limited_machine machine;
    machine.v2("/docker/abc/inner", "/docker/abc");
    machine.write("/sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
    CHECK(machine.limits(16).usable == 2);
    machine.v2("/../elsewhere");
    machine.write("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    CHECK(machine.limits(16).usable == 3);
}

TEST_CASE("files that are empty, malformed or absurd limit nothing") {
    const limited_machine machine;
    machine.v2("/a");
    for (const char* text : {"", "\n", "max", "nonsense", "0 100000", "-5 100000", "100000 0",
                             "100000", "1e999 1", "nan 100000", "100000 100000 100000"}) {
        CAPTURE(text);
        machine.write("/sys/fs/cgroup/a/cpu.max", text);
        machine.write("/sys/fs/cgroup/a/cpuset.cpus.effective", text[0] == '1' ? "4-2" : text);
        CHECK(machine.limits(7).usable == 7);
    }
    machine.write("/proc/self/cgroup", "no colon\n1:only one\n::\n");
    machine.write("/proc/self/mountinfo", "garbage\n1 2 3 4 5 6 7 8 9 - cgroup2\n\n");
    CHECK(machine.limits(7).usable == 7);
}

TEST_CASE("lists of CPUs are counted, and what is no such list is not") {
    CHECK(count_cpu_list("0-3,7,9-10\n") == 7u);
    CHECK(count_cpu_list("5") == 1u);
    for (const char* text : {"", "\n", "3-1", "a", "1-", "-1", "1,,2", "0-99999999999"}) {
        CAPTURE(text);
        CHECK_FALSE(count_cpu_list(text));
    }
}

TEST_CASE("the process's affinity is that of all its threads, not of a pinned one") {
    const std::vector<unsigned> before = process_affinity();
    REQUIRE_FALSE(before.empty());
    std::vector<unsigned> seen;
    std::thread{[&] {
        REQUIRE(set_affinity({before.front()}));
        seen = process_affinity();
    }}.join();
    CHECK(seen == before);
}

TEST_CASE("this machine has at least one usable CPU, and not more than its mask") {
    CHECK(prefork::usable_cpus() >= 1);
    CHECK(prefork::usable_cpus() <= process_affinity().size());
}

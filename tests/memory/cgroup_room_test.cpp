#include "memory/cgroup_room.hpp"

#include "support/catch.hpp"
#include "support/fake_machine.hpp"

using prefork::memory::cgroup_room;

namespace {

constexpr std::uint64_t without_end = ~std::uint64_t{0};

}  // namespace

TEST_CASE("room without cgroups, or without a limit in them, has no end") {
    CHECK(cgroup_room{}.now() == without_end);
    const prefork::test::fake_machine machine;
    CHECK(cgroup_room{machine.root()}.now() == without_end);
    machine.v2("/a");
    machine.write("/sys/fs/cgroup/a/memory.max", "max\n");
    machine.write("/sys/fs/cgroup/a/memory.current", "1000000\n");
    cgroup_room room{machine.root()};
    CHECK(room.now() == without_end);
    CHECK(room.take(std::uint64_t{1} << 40));
}

TEST_CASE("the room is what the tightest cgroup has, but a quarter, its page cache included") {
    const prefork::test::fake_machine machine;
    machine.v2("/a/b");
    machine.write("/sys/fs/cgroup/a/memory.max", "1600\n");
    machine.write("/sys/fs/cgroup/a/memory.current", "1200\n");
    machine.write("/sys/fs/cgroup/a/memory.stat", "anon 900\ninactive_file 200\nactive_file 100\n");
    machine.write("/sys/fs/cgroup/a/b/memory.max", "16000\n");
    machine.write("/sys/fs/cgroup/a/b/memory.current", "0\n");
    CHECK(cgroup_room{machine.root()}.now() == 1600 - 400 - 900);
    machine.write("/sys/fs/cgroup/a/memory.current", "1800\n");  // just lowered
    CHECK(cgroup_room{machine.root()}.now() == 0);

    const prefork::test::fake_machine old;
    old.v1_memory("/a");
    old.write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1600\n");
    old.write("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1000\n");
    old.write("/sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 100\n");
    CHECK(cgroup_room{old.root()}.now() == 1600 - 400 - 900);
}

TEST_CASE("what is taken is looked up again before a quarter of what was left is gone") {
    const prefork::test::fake_machine machine;
    machine.v2("/a");
    machine.write("/sys/fs/cgroup/a/memory.max", "1600\n");
    machine.write("/sys/fs/cgroup/a/memory.current", "500\n");
    cgroup_room room{machine.root()};
    CHECK_FALSE(room.take(701));
    CHECK(room.take(300));  // 400 left: 100 without a look
    machine.write("/sys/fs/cgroup/a/memory.current", "1200\n");
    CHECK(room.take(60));
    CHECK_FALSE(room.take(41));
    CHECK(room.take(40));
    CHECK_FALSE(room.take(1));
    machine.write("/sys/fs/cgroup/a/memory.max", "3200\n");  // raised
    CHECK(room.take(1200));
    CHECK_FALSE(room.take(1201));
}

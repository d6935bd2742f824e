#include "memory/cgroup_room.hpp"

#include "support/catch.hpp"
#include "support/fake_machine.hpp"

using prefork::memory::cgroup_room;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t without_end = ~std::uint64_t{0};
constexpr prefork::base::time_point start{1h};

/// A cgroup of 1600 bytes.
class limited {
  public:
    explicit limited(std::uint64_t used) {
        machine_.v2("/a");
        may_use(1600);
        uses(used);
        room_ = cgroup_room{machine_.root()};
    }
    void uses(std::uint64_t bytes) const { write("memory.current", std::to_string(bytes)); }
    void caches(std::uint64_t bytes) const {
        write("memory.stat", "anon 0\nactive_file " + std::to_string(bytes));
    }
    void may_use(std::uint64_t bytes) const { write("memory.max", std::to_string(bytes)); }
    void has_no_limit() const { write("memory.max", "max"); }
    [[nodiscard]] cgroup_room& room() const { return room_; }

  private:
    void write(const std::string& file, const std::string& text) const {
        machine_.write("/sys/fs/cgroup/a/" + file, text + "\n");
    }

    prefork::test::fake_machine machine_;
    mutable cgroup_room room_;
};

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
    CHECK(room.has(std::uint64_t{1} << 40, std::uint64_t{1} << 40, {}));
}

TEST_CASE("of a cgroup with room enough the page cache is not asked for") {
    const limited of{100};
    of.caches(50);
    CHECK(of.room().now() == 1600 - 400 - 50);
    CHECK(of.room().now(1100) == 1100);
    CHECK(of.room().now(1101) == 1600 - 400 - 50);
}

TEST_CASE("the largest number that the kernel has is no limit") {
    const prefork::test::fake_machine machine;
    machine.v1_memory("/a");
    machine.write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    machine.write("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1000\n");
    CHECK(cgroup_room{machine.root()}.now() == without_end);
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

TEST_CASE("what a look has found is trusted until all have grown by a quarter of what was left") {
    const limited of{500};
    CHECK_FALSE(of.room().has(701, 701, start));
    CHECK(of.room().has(300, 300, start));  // 400 left: up to 400 shared ones without a look
    of.uses(1200);
    CHECK(of.room().has(60, 360, start));
    CHECK(of.room().has(40, 400, start));
    CHECK_FALSE(of.room().has(1, 401, start));
    CHECK_FALSE(of.room().has(10, 360, start));  // now that it has been looked up
    of.may_use(3200);
    CHECK(of.room().has(1200, 1600, start));
    CHECK_FALSE(of.room().has(1201, 2801, start));
}

TEST_CASE("what others of the region have taken since the last look needs another one") {
    const limited of{0};
    CHECK(of.room().has(400, 400, start));  // 800 left: up to 600
    of.uses(1200);
    CHECK(of.room().has(100, 600, start));
    CHECK_FALSE(of.room().has(100, 1200, start));  // 600 by others
}

TEST_CASE("what a look has found is not trusted for long, unless there was no limit") {
    const limited of{0};
    CHECK(of.room().has(400, 400, start));
    of.uses(1200);
    CHECK(of.room().has(100, 500, start + 999us));
    CHECK_FALSE(of.room().has(100, 500, start + 1ms));
    of.has_no_limit();
    CHECK(of.room().has(100, 500, start));
    of.may_use(1600);
    CHECK(of.room().has(100, 600, start + 1h));
}

TEST_CASE("private bytes always need a look, and leave less to trust") {
    const limited of{400};
    CHECK(of.room().has_private(400, 400, start));  // 400 left: up to 500
    of.uses(1200);
    CHECK(of.room().has(100, 500, start));
    CHECK_FALSE(of.room().has_private(1, 400, start));
    CHECK_FALSE(of.room().has(100, 500, start));
}

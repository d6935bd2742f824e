#include "memory/live_regions.hpp"

#include <fstream>
#include <numeric>
#include <set>
#include <string>

#include "memory/region.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"

namespace pf = prefork;
using pf::memory::region;

namespace {

// Files behind mappings of regions in this process.
int mapped_regions() {
    std::set<std::string> inodes;
    std::ifstream maps{"/proc/self/maps"};
    std::string range, access, offset, device, inode, name;
    while (maps >> range >> access >> offset >> device >> inode && std::getline(maps, name)) {
        if (name.find("memfd:prefork") != std::string::npos) inodes.insert(inode);
    }
    return static_cast<int>(inodes.size());
}
int sum(const pf::shared_array<int>& values) {
    return std::accumulate(values.begin(), values.end(), 0);
}
int twice(int x) { return 2 * x; }

}  // namespace

TEST_CASE("regions that are let go of hold no memory, and read as zeros or not at all") {
    const region other{{.control_bytes = 4096, .ring_bytes = 4096, .seats = 1}};
    const region own{{.control_bytes = 4096, .ring_bytes = 4096, .seats = 1}};
    other.control()[0] = own.control()[0] = std::byte{7};
    const auto end = pf::test::in_child([&] {
        pf::memory::regions_held{}.let_go_of_others(own.base());
        return mapped_regions() == 1 && own.control()[0] == std::byte{7} &&
                       other.control()[0] == std::byte{0}
                   ? 0
                   : 1;
    });
    CHECK(end == pf::test::child_end{});
    CHECK(mapped_regions() == 2);
    CHECK(other.control()[0] == std::byte{7});
}

TEST_CASE("workers have the memory of their own pool only, whichever pool is older") {
    pf::pool older{{.workers = 1}};
    pf::pool younger{{.workers = 1}};
    CHECK(older.submit(mapped_regions).get() == 1);
    CHECK(younger.submit(mapped_regions).get() == 1);
    SECTION("an array of another pool is copied, so that they see it all the same") {
        for (pf::pool* const maker : {&older, &younger}) {
            pf::pool& user = maker == &older ? younger : older;
            const auto array = maker->make_shared_array<int>(10);
            CHECK(user.submit(sum, array).get() == 0);
            CHECK(maker->submit(sum, array).get() == 0);
        }
    }
    SECTION("a task may use another pool, which runs what it gets in the task") {
        const auto ask = [other = &older](int x) {
            static_cast<void>(other->stats());
            static_cast<void>(other->healthy());
            static_cast<void>(other->describe());
            return other->submit(twice, x).get();
        };
        CHECK(younger.submit(ask, 4).get() == 8);
    }
}

#include "memory/live_regions.hpp"

#include "memory/region.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/mapped_regions.hpp"

namespace pf = prefork;
using pf::memory::region;
using pf::test::mapped_regions;

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

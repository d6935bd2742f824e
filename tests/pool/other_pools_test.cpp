#include <numeric>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/mapped_regions.hpp"

// Several pools of one process, and what their workers see of each other.

namespace pf = prefork;
using pf::test::mapped_regions;

namespace {

int sum(const pf::shared_array<int>& values) {
    return std::accumulate(values.begin(), values.end(), 0);
}
int twice(int x) { return 2 * x; }

}  // namespace

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

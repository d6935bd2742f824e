#include <string>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"

// Needs some 13 GiB of memory, so it is not in the quick set: `meson test --setup all`.

namespace pf = prefork;

TEST_CASE("an argument and an array of more than 4 GiB arrive whole") {
    constexpr std::size_t size = (std::size_t{4} << 30) + 12'345;
    pf::pool pool{{.workers = 1, .memory_budget = std::size_t{10} << 30}};
    {
        std::string text(size, 'x');
        text.back() = 'y';
        const auto look = [](std::string_view seen) {
            return seen.size() + (seen.back() == 'y' ? 1 : 0);
        };
        CHECK(pool.submit(look, text).get() == size + 1);
    }
    auto array = pool.make_shared_array<char>(size);
    array[size - 1] = 'z';
    const auto last = [](const pf::shared_array<char>& seen) { return seen[seen.size() - 1]; };
    CHECK(pool.submit(last, array).get() == 'z');
}

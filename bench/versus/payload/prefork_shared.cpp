// A shared_array as an argument: not copied.
#include <algorithm>
#include <prefork/pool.hpp>
#include <prefork/shared_array.hpp>

#include "workload.hpp"

namespace {

using array = prefork::shared_array<std::byte>;

std::uint64_t seen_in(const array& bytes) { return prefork::versus::seen(bytes.span()); }

}  // namespace

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool{{.workers = 1}};
    return measure(argc, argv, [&](payload bytes) {
        array in_the_pool = pool.make_shared_array<std::byte>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), in_the_pool.begin());
        return [&pool, in_the_pool] { return pool.submit(seen_in, in_the_pool).get(); };
    });
}

// expect: prefork: a task sees its caller's elements, it can't change them
// expect: std::span of const
#include <prefork/pool.hpp>
#include <span>
#include <vector>

void fill(std::span<int> values) { values[0] = 1; }

void use(prefork::pool& pool) {
    std::vector<int> values(3);
    pool.submit(fill, values);
}

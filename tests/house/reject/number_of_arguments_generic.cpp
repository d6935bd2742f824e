// expect: prefork: the task can't be called with these arguments: too few, too many
#include <prefork/pool.hpp>

void use(prefork::pool& pool) {
    pool.submit([](auto a, auto b) { return a + b; }, 1);
}

// expect: prefork: a task can't change its caller's variable through a reference
#include <prefork/pool.hpp>

void increment(int& n) { ++n; }

void use(prefork::pool& pool) {
    int n = 1;
    pool.submit(increment, n);
}

// expect: prefork: a pointer or reference means nothing in another process
#include <prefork/pool.hpp>

int value_at(const int* from) { return *from; }

void use(prefork::pool& pool) {
    const int n = 1;
    pool.submit(value_at, &n);
}

// expect: prefork: the number of arguments is not the number of the task's parameters
#include <prefork/pool.hpp>

int add(int a, int b) { return a + b; }

void use(prefork::pool& pool) { pool.submit(add, 1); }

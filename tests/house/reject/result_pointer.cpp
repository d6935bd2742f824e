// expect: prefork: a task can't return a pointer
// expect: return a value
#include <prefork/pool.hpp>

const char* name(int) { return "kim"; }

void use(prefork::pool& pool) { pool.submit(name, 1); }

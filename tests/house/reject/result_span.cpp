// expect: prefork: a task can't return a string_view or span
// expect: return a std::string or std::vector
#include <prefork/pool.hpp>
#include <span>

std::span<int> values(int) { return {}; }

void use(prefork::pool& pool) { pool.submit(values, 1); }

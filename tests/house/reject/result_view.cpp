// expect: prefork: a task can't return a string_view or span
// expect: return a std::string or std::vector
#include <prefork/pool.hpp>
#include <string_view>

std::string_view name(int) { return "kim"; }

void use(prefork::pool& pool) { pool.submit(name, 1); }

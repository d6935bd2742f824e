// expect: prefork: a task can't return a string_view or span
// expect: return a std::string or std::vector
#include <optional>
#include <prefork/pool.hpp>
#include <string_view>
#include <utility>
#include <vector>

std::vector<std::pair<int, std::optional<std::string_view>>> names(int) { return {}; }

void use(prefork::pool& pool) { pool.submit(names, 1); }

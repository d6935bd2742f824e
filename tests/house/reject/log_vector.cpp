// expect: prefork: log() writes strings, bool, char, numbers, pointers and enums
#include <prefork/log.hpp>
#include <vector>

void use(const std::vector<int>& numbers) { prefork::log(prefork::level::info, "{}", numbers); }

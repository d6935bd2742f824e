// expect: prefork: log() has more arguments than {}
#include <prefork/log.hpp>

void use() { prefork::log(prefork::level::info, "{}", 1, 2); }

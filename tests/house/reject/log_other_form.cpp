// expect: prefork: log() knows {} only, and {{ for a brace
#include <prefork/log.hpp>

void use() { prefork::log(prefork::level::info, "{:x}", 255); }

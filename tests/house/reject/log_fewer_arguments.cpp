// expect: prefork: log() has more {} than arguments
#include <prefork/log.hpp>

void use() { prefork::log(prefork::level::info, "{} of {}", 1); }

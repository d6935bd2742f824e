// expect: prefork: a lone } in the text of log(): write }} for a brace
#include <prefork/log.hpp>

void use() { prefork::log(prefork::level::info, "{} }", 1); }

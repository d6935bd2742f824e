// expect: constant expression
#include <prefork/log.hpp>
#include <string>

// A text that isn't known at compile time can't be looked at: it belongs into a {}.
void use(const std::string& text) { prefork::log(prefork::level::info, text); }

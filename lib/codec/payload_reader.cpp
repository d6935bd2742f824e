#include <string>

#include "prefork/detail/payload.hpp"
#include "prefork/error.hpp"

namespace prefork::detail {

void throw_decode_error(const char* what, std::size_t at, std::size_t size) {
    throw decode_error(std::string("payload of ") + std::to_string(size) +
                       " bytes can't be decoded: " + what + " (at byte " + std::to_string(at) +
                       ")");
}

}  // namespace prefork::detail

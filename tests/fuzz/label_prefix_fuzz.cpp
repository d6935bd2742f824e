// A label in front of a payload: never longer than what it is read from.
#include <cstdint>
#include <cstdlib>

#include "codec/label_prefix.hpp"
#include "codec/payload_bytes.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const prefork::test::payload_bytes exact{std::as_bytes(std::span{data, size})};
    const prefork::detail::label_prefix prefix{exact.bytes()};
    if (prefix.size() > size || prefix.label().size() > size) std::abort();
    unsigned sum = 0;
    for (const char each : prefix.label()) sum += static_cast<unsigned char>(each);
    for (const std::byte each : exact.bytes().subspan(prefix.size())) sum += unsigned(each);
    volatile unsigned read = sum;
    static_cast<void>(read);
    return 0;
}

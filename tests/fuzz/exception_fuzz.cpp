// A task's exception, from bytes that a worker made up: it arrives as some exception.
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string>

#include "codec/exception_codec.hpp"
#include "codec/payload_bytes.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const prefork::test::payload_bytes exact{std::as_bytes(std::span{data, size})};
    const std::exception_ptr got = prefork::detail::decode_exception(exact.bytes());
    if (!got) std::abort();
    try {
        std::rethrow_exception(got);
    } catch (const std::exception& e) {
        if (e.what() == nullptr) std::abort();
        // There and back once more: what it became can be sent again.
        const std::string again = prefork::detail::encode_current_exception(4096);
        if (again.size() > 4096) std::abort();
    }
    return 0;
}

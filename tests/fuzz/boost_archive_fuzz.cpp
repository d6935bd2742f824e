// codec::boost_archive: no archive is read whose checksum is wrong, and one that is whole is read.
#include <cstdlib>
#include <map>
#include <prefork/codec/boost_archive.hpp>
#include <string>
#include <vector>

#include "codec/payload_bytes.hpp"

using prefork::codec::boost_archive_t;

using value = std::map<std::string, std::vector<std::wstring>>;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span{data, size});
    prefork::test::decodes<boost_archive_t, value>(bytes);
    // A value made of the input, as its bytes, one of which the input changes.
    value made;
    for (std::size_t i = 0; i + 1 < size && i < 64; ++i) {
        made[std::string(data[i] % 32, 'k')].push_back(std::wstring(data[i + 1] % 8, L'v'));
    }
    auto packed = prefork::test::encoded<boost_archive_t>(made);
    if (!prefork::test::decodes<boost_archive_t, value>(packed.bytes())) std::abort();
    if (size < 3) return 0;
    packed.data()[(data[0] * 256u + data[1]) % packed.size()] ^= std::byte{data[2]};
    prefork::test::decodes<boost_archive_t, value>(packed.bytes());
    return 0;
}

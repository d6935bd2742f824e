// codec::msgpack, from bytes that a worker made up.
#include <map>
#include <memory>
#include <optional>
#include <prefork/codec/msgpack.hpp>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "codec/payload_bytes.hpp"

using prefork::codec::msgpack_t;

namespace {

struct tree {
    int value = 0;
    std::string name;
    std::vector<tree> branches;
    MSGPACK_DEFINE(value, name, branches)
};

/// As a payload holds it: a length, then the object.
template <class T>
void decode(std::span<const std::byte> object) {
    const std::string text{reinterpret_cast<const char*>(object.data()), object.size()};
    const auto payload = prefork::test::encoded<prefork::codec::raw_t>(text);
    prefork::test::decodes<msgpack_t, T>(payload.bytes());
    prefork::test::decodes<msgpack_t, T>(object);
}

using index = std::map<std::string, std::vector<double>>;

constexpr void (*forms[])(std::span<const std::byte>) = {
    decode<tree>,
    decode<index>,
    decode<std::unordered_map<int, std::optional<std::string>>>,
    decode<std::vector<std::unique_ptr<int>>>,
    decode<std::tuple<std::uint8_t, std::int64_t, float, bool, std::set<std::string>>>,
    decode<std::array<std::shared_ptr<std::string>, 2>>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    forms[data[0] % std::size(forms)](std::as_bytes(std::span{data + 1, size - 1}));
    return 0;
}

// codec::raw, of values of every form it has, from bytes that a worker made up.
#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "codec/payload_bytes.hpp"

using prefork::codec::raw_t;
using prefork::test::decodes;

namespace {

using bytes = std::span<const std::byte>;
using tree = std::vector<std::vector<std::string>>;
using either = std::variant<std::monostate, int, std::string, std::vector<std::uint16_t>>;

constexpr bool (*forms[])(bytes) = {
    decodes<raw_t, int, double, char, bool>,
    decodes<raw_t, std::string, std::vector<int>>,
    decodes<raw_t, std::string_view, std::span<const double>, std::span<const bool>>,
    decodes<raw_t, tree>,
    decodes<raw_t, std::optional<std::string>, std::vector<bool>>,
    decodes<raw_t, std::vector<either>>,
    decodes<raw_t, std::tuple<std::string, std::pair<int, std::optional<tree>>>>,
    decodes<raw_t, std::array<std::optional<std::u16string>, 3>>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    forms[data[0] % std::size(forms)](std::as_bytes(std::span{data + 1, size - 1}));
    return 0;
}

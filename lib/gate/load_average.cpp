#include "gate/load_average.hpp"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/system_call.hpp"
#include "prefork/gate.hpp"

namespace prefork::gate {

std::optional<double> parse_load(const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
    const bool ends = end == text.data() + text.size() || *end == ' ' || *end == '\n';
    return ends ? std::optional{value} : std::nullopt;
}

std::optional<double> one_minute_load() {
    const char* const other = std::getenv("PREFORK_LOADAVG_FILE");
    return parse_load(base::read_small_file(other != nullptr ? other : "/proc/loadavg"));
}

}  // namespace prefork::gate

namespace prefork {

double load_average() { return gate::one_minute_load().value_or(0); }

}  // namespace prefork

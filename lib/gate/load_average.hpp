#pragma once

#include <optional>
#include <string>

namespace prefork::gate {

/// The first number of /proc/loadavg, or nothing if there is none. `PREFORK_LOADAVG_FILE` in the
/// environment names another file: for tests, and for containers whose /proc/loadavg is the host's.
[[nodiscard]] std::optional<double> one_minute_load();

/// "0.50 0.40 0.30 1/200 4711" → 0.5. Nothing for what is not a finite number ≥ 0.
[[nodiscard]] std::optional<double> parse_load(const std::string& text);

}  // namespace prefork::gate

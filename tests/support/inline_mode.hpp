#pragma once

#include <cstdlib>
#include <iostream>
#include <string_view>

namespace prefork::test {

/// This run has PREFORK_WORKERS=inline: every task runs in the test itself.
[[nodiscard]] inline bool inline_mode() {
    const char* const workers = std::getenv("PREFORK_WORKERS");
    return workers != nullptr && std::string_view{workers} == "inline";
}

/// True, and says so, in a run where a case can't make sense. `why`: what it needs a process for.
[[nodiscard]] inline bool left_out_inline(std::string_view why) {
    if (!inline_mode()) return false;
    std::cout << "left out inline: " << why << '\n';
    return true;
}

}  // namespace prefork::test

#pragma once

#include <string>

namespace prefork::base {

/// "Linux 6.1.0: close_range, MADV_POPULATE_WRITE, …; not: futex_waitv": which of the kernel's
/// offers that the library can do without are there. For people. Cost: half a dozen system calls.
[[nodiscard]] std::string kernel_offers();

}  // namespace prefork::base

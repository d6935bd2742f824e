#pragma once

#include "process/control.hpp"

// PREFORK_DEBUG=wait in the environment: each new worker waits before its hooks until a debugger is
// there.

namespace prefork::process {

[[nodiscard]] bool debugger_is_wanted() noexcept;

/// In a worker that logs already: says how to attach, then waits for a debugger, or for a SIGCONT
/// from who doesn't need one. False if the pool ended meanwhile. While it waits, any process of the
/// same user may attach, where Yama allows it to be said.
///
/// It does not stop itself: a stopped worker could not leave with the pool.
[[nodiscard]] bool wait_for_debugger(control words);

}  // namespace prefork::process

#pragma once

#include <cstdlib>

namespace prefork::test {

/// A program made with a sanitizer, as tools/run-tests says it.
[[nodiscard]] inline bool sanitized() { return std::getenv("PREFORK_SANITIZED") != nullptr; }

/// Whether what is forked while other threads allocate may wait for ever: AddressSanitizer's own
/// allocator takes no lock around fork() before LLVM 18 (github.com/llvm/llvm-project/pull/75290),
/// so the child may find one that another thread of the parent held.
[[nodiscard]] inline bool fork_loses_heap_locks() { return sanitized(); }

}  // namespace prefork::test

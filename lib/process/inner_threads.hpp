#pragma once

// Threads that OpenMP or a BLAS uses below a task, by their run-time calls: their environment
// variables were read long before the fork. Looked up by name: whoever doesn't link them doesn't
// have them.

namespace prefork::process {

/// In the host, before the fork, with what workers will be allowed: gcc's OpenMP keeps idle threads
/// for the thread that used it, and in the fork, which doesn't copy them, would wait for them for
/// ever. One thread needs no others, so nothing is released for it.
void release_inner_threads(unsigned allowed) noexcept;

/// In a worker.
void limit_inner_threads(unsigned threads) noexcept;

}  // namespace prefork::process

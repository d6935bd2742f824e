#pragma once

// The end of a worker that leaves by itself: `_exit`, so that nothing of the host's runs in it, and
// before that what the compiler's tools would have written at exit().

namespace prefork::process {

/// In a new worker, before its hooks. `reset` now, `write` when it leaves; either may be nullptr.
/// From now on exit() too leaves so, after what was registered in this process; a handler of the
/// host's would run in the wrong process.
void write_at_exit(void (*reset)(), void (*write)());

/// In a new worker, first of all: what the host had printed and not yet written is the host's to
/// write, and a copy of it would come out of every worker.
void drop_inherited_output() noexcept;

/// Writes what was printed to stdout and stderr, writes coverage, and checks for leaks where the
/// program is built with a leak sanitizer.
///
/// A leak is told as that sanitizer tells it: on standard error, or where `log_path` says; and the
/// worker leaves with the sanitizer's `exitcode` (23), which nobody sees but stats() of a pool that
/// recycles its workers. Results are not affected. Blocks that the host had lost before the fork
/// are told by each worker. If other threads ran at the fork, nothing is told: what only their
/// stacks refer to looks like a leak here.
[[noreturn]] void leave(int status) noexcept;

/// In the host, before the fork.
void note_threads_at_fork() noexcept;

}  // namespace prefork::process

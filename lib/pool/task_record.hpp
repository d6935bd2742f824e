#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "memory/arena.hpp"
#include "prefork/detail/pool_core.hpp"
#include "ring/slot.hpp"

namespace prefork::detail {

using kept_arguments = std::array<std::byte, ring::inline_payload_bytes>;

/// The host's private copy of what it needs to know of a task in the ring, one a slot. Never read
/// back from shared memory, where a worker could have changed it.
struct task_record {
    std::uint64_t position = 0;
    bool in_use = false;
    bool abandoned = false;
    /// Its result is out, but the worker that it was taken from may still write to the slot.
    bool quarantined = false;
    /// A thread of the host runs it, and nobody else is to look at it.
    bool runs_here = false;
    /// Later runs still allowed after a lost worker, and runs begun so far that were lost.
    unsigned retries_left = 0;
    unsigned lost_runs = 0;
    std::uint64_t attempt = 0;  ///< which run of it is in the ring
    bool is_low = false;        ///< told apart in its word, see ring/slot_word.hpp
    std::uint64_t function = 0;
    std::uint64_t code = 0;  ///< the user's function, where that is not the same
    std::uint64_t size = 0;
    std::chrono::nanoseconds timeout{0};
    base::time_point deadline = base::never;
    std::shared_ptr<const std::string> label;
    std::uint64_t number = 0;  ///< among all submissions, inline ones included
    memory::block arguments;
    /// Inline arguments, for another run and for whoever saves the task: in the slot the result of
    /// a lost run may lie over them. Cost: 1 to 2 ns a task.
    kept_arguments kept;
    /// Arrays that the arguments name, kept as long as the task may run.
    std::vector<shared_ref> attachments;
    /// Why it ended, when it was the host that ended it.
    std::exception_ptr failure;
};

}  // namespace prefork::detail

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

// What a worker that crashes leaves in shared memory: one a seat. Its signal handler writes it, the
// host reads it once the worker is dead, and believes nothing of it (crash_report.hpp).

namespace prefork::process {

struct alignas(64) crash_record {
    static constexpr std::size_t most_frames = 57;

    /// Who crashed; 0: nobody. Written after what describes the signal, before the frames.
    std::atomic<std::int32_t> pid;
    std::atomic<std::int32_t> signal;
    std::atomic<std::int32_t> code;    ///< si_code
    std::atomic<std::int32_t> sender;  ///< si_pid, where a process sent the signal
    std::atomic<std::uint64_t> address;
    std::atomic<std::uint32_t> frame_count;
    std::uint32_t unused;
    /// The journal word of the run whose frames these are, when they were asked for and not left by
    /// a crash: written last.
    std::atomic<std::uint64_t> traced;
    std::atomic<std::uint64_t> ended;   ///< in ticks
    std::atomic<std::uint64_t> memory;  ///< private bytes
    /// Innermost first; each an address inside the instruction that was running or calling.
    std::array<std::atomic<std::uint64_t>, most_frames> frames;
};
static_assert(sizeof(crash_record) == 512 && offsetof(crash_record, frames) == 56);
static_assert(std::is_standard_layout_v<crash_record> &&
              std::is_trivially_destructible_v<crash_record>);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::int32_t>::is_always_lock_free);

}  // namespace prefork::process

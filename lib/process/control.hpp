#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "log/log_ring.hpp"
#include "memory/budget.hpp"
#include "prefork/detail/payload_reader.hpp"
#include "process/crash_record.hpp"
#include "ring/hint.hpp"
#include "ring/wake.hpp"
#include "stats/counter.hpp"

// The control part of the region: hints, beds, journals, crash records, log rings and budget words,
// one after another.

namespace prefork::process {

/// What a worker notes of itself; one writer, the worker, except where said. The host reads it once
/// and believes it no further than this worker's own tasks.
struct alignas(128) journal {
    /// The claimed slot word of the task whose user code has begun; 0 when none is running. The
    /// host may change it to `lost` by compare-and-swap, and kills only after that: the
    /// worker, when its commit fails, changes it to 0 in the same way before it goes on, and after
    /// every task where there is a memory limit. So a worker is never killed for a task that it
    /// has left behind.
    std::atomic<std::uint64_t> running;
    /// When it began, in ticks.
    std::atomic<std::uint64_t> started;
    /// The last run whose commit failed: it has been left, and its slot will not be written to any
    /// more.
    std::atomic<std::uint64_t> left;
    /// Private bytes before its hooks ran: a limit counts growth.
    std::atomic<std::uint64_t> memory_at_start;
    /// Written by the host, before it wakes the bed: whose place a spare takes, index + 1, and 0
    /// while it waits; or `turn_to_leave`. The worker that leaves says `has_left`, and has claimed
    /// its last.
    std::atomic<std::uint64_t> turn;
    /// Written by the host: the run that is asked to stop (its slot word).
    std::atomic<std::uint64_t> stop_for;
    /// Nanoseconds by which the running task prolonged its timeout; 0 for most.
    std::atomic<std::int64_t> extended;
    /// Counts requests to stop: the futex of the worker's stop_watch.
    std::atomic<std::uint32_t> stops;
    /// Its process, noted before its hooks run.
    std::atomic<std::int32_t> pid;

    stats::counter counts;
};
static_assert(sizeof(journal) == 128 && std::is_standard_layout_v<journal>);
// Each of these keeps the alignment of what comes after it.
static_assert(sizeof(ring::hints) % 128 == 0 && sizeof(ring::bed) % 128 == 0 &&
              sizeof(crash_record) % 128 == 0 && sizeof(logging::log_ring) % 128 == 0);

/// What a spare or a worker is to do, in its journal's `turn`.
inline constexpr std::uint64_t turn_to_leave = ~std::uint64_t{0};
inline constexpr std::uint64_t has_left = turn_to_leave - 1;

/// Every worker reads it, rarely; the host sets it, but for what says otherwise.
struct alignas(128) switches {
    std::atomic<std::uint32_t> closing;  ///< finish what you run, then exit
    std::atomic<std::uint32_t> trims;    ///< counts requests, by anybody, to give unused pages back
    std::atomic<std::uint32_t> paused;   ///< claim nothing
    std::atomic<std::uint32_t> broadcasts;       ///< how many there are to run
    std::atomic<std::uint64_t> first_broadcast;  ///< offset of the first's broadcast_call
    /// Set by a worker that has no room for a result, cleared by the host when it looks.
    std::atomic<std::uint32_t> room_asked;
};

/// A call that every worker runs once, in the part of the region that workers only read; its
/// payload follows. They form a list in the order of the calls.
struct broadcast_call {
    std::atomic<std::uint64_t> next;  ///< offset of the next; 0 while this is the last
    std::uint64_t function;
    std::uint64_t size;
    std::uint64_t unused;
};
static_assert(sizeof(broadcast_call) == detail::payload_alignment);

/// How far a worker is with what every worker is to do: broadcasts, and requests to trim. One
/// writer, the worker. `error` is the exception of the call `failed`, as bytes.
struct alignas(128) worker_progress {
    std::atomic<std::uint32_t> begun;
    std::atomic<std::uint32_t> done;
    std::atomic<std::uint32_t> failed;
    std::atomic<std::uint32_t> error_bytes;
    std::atomic<std::uint32_t> trims;
    std::array<std::byte, 492> error;
};
static_assert(sizeof(worker_progress) == 512);

class control {
  public:
    control(std::span<std::byte> part, unsigned seats) noexcept
        : base_(part.data()), seats_(seats) {}

    [[nodiscard]] static std::size_t bytes(unsigned seats) noexcept {
        return sizeof(ring::hints) + sizeof(switches) +
               seats * (sizeof(ring::bed) + sizeof(journal) + sizeof(crash_record) +
                        sizeof(worker_progress) + sizeof(logging::log_ring)) +
               (seats + 1) * sizeof(memory::budget::word);
    }

    [[nodiscard]] ring::hints& hints() const noexcept { return *at<ring::hints>(0); }
    [[nodiscard]] switches& flags() const noexcept { return *at<switches>(sizeof(ring::hints)); }
    [[nodiscard]] std::span<ring::bed> beds() const noexcept {
        return {at<ring::bed>(beds_offset), seats_};
    }
    [[nodiscard]] journal& journal_of(unsigned seat) const noexcept {
        return at<journal>(beds_offset + seats_ * sizeof(ring::bed))[seat];
    }
    [[nodiscard]] crash_record& crash_of(unsigned seat) const noexcept {
        return at<crash_record>(crashes_offset())[seat];
    }
    [[nodiscard]] worker_progress& progress_of(unsigned seat) const noexcept {
        return at<worker_progress>(crashes_offset() + seats_ * sizeof(crash_record))[seat];
    }
    /// One a seat.
    [[nodiscard]] logging::log_ring* log_rings() const noexcept {
        return at<logging::log_ring>(logs_offset());
    }
    /// One a seat, and the host's.
    [[nodiscard]] std::span<memory::budget::word> budget_words() const noexcept {
        return {at<memory::budget::word>(logs_offset() + seats_ * sizeof(logging::log_ring)),
                seats_ + 1};
    }

  private:
    static constexpr std::size_t beds_offset = sizeof(ring::hints) + sizeof(switches);

    [[nodiscard]] std::size_t crashes_offset() const noexcept {
        return beds_offset + seats_ * (sizeof(ring::bed) + sizeof(journal));
    }
    [[nodiscard]] std::size_t logs_offset() const noexcept {
        return crashes_offset() + seats_ * (sizeof(crash_record) + sizeof(worker_progress));
    }
    template <class T>
    [[nodiscard]] T* at(std::size_t offset) const noexcept {
        return reinterpret_cast<T*>(base_ + offset);
    }

    std::byte* base_;
    unsigned seats_;
};

}  // namespace prefork::process

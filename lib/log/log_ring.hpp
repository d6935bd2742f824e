#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "prefork/log.hpp"

// How a log line survives a crash: a ring of bytes in shared memory, one a seat, with one writer,
// the seat's worker.
//
//   read                       written
//    |  head, label, text, fill | head, label, text, fill |  free …
//
// Positions only grow; the byte of a position is at its remainder by the capacity. A record is
// there once `written` is behind it, which is stored last: a writer that dies at any instruction
// before has left no trace. The reader is the host. Its own position is private, and it believes
// nothing of what it reads.

namespace prefork::logging {

/// As long as a line can be.
inline constexpr std::size_t longest_line = 1000;

struct log_ring {
    static constexpr std::size_t capacity = std::size_t{16} << 10;

    /// The worker's.
    std::atomic<std::uint64_t> written;
    std::atomic<std::uint64_t> dropped;  ///< lines for which there was no room
    /// The host's, told to the worker. In a line of their own, for they have another writer.
    alignas(128) std::atomic<std::uint64_t> read;
    /// 1: the next line needs a wake. Taken back by whoever gives it.
    std::atomic<std::uint32_t> asleep;
    std::uint32_t unused;
    alignas(128) std::array<std::byte, capacity> bytes;
};
static_assert(sizeof(log_ring) == 256 + log_ring::capacity && offsetof(log_ring, bytes) == 256);
static_assert(std::is_standard_layout_v<log_ring> && std::is_trivially_destructible_v<log_ring>);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert((log_ring::capacity & (log_ring::capacity - 1)) == 0);

/// Before a record's text, which is filled up to a multiple of 8 bytes.
struct record_head {
    std::int64_t time_ns;  ///< since the epoch, by the system's clock
    std::uint32_t size;    ///< of label and text
    std::uint8_t level;
    std::uint8_t label_size;
    std::uint8_t unused[2];
};
static_assert(sizeof(record_head) == 16 && std::has_unique_object_representations_v<record_head>);

/// The worker's end; made in the worker, for its lock is that of its own threads.
///
/// Who sleeps is always woken, by Dekker's argument on (written or dropped, asleep):
///   the worker  stores `written`  ; loads `asleep`   ; wakes
///   the host    stores `asleep`   ; loads `written`  ; sleeps
/// All four are seq_cst, so one of the two sees the other. The host says that it sleeps only when
/// it has found nothing, so a burst costs one wake.
class log_writer {
  public:
    log_writer(log_ring& ring, int wake_fd) noexcept;

    /// Comes with every line from now on, cut at 255 bytes; seen until it is set again.
    void set_label(std::string_view label) noexcept;
    /// False when there was no room; that is counted. At most `longest_line` bytes.
    bool write(level at, std::chrono::system_clock::time_point time,
               std::string_view text) noexcept;
    /// False in a process that a task forked. A system call.
    [[nodiscard]] bool is_here() const noexcept;

  private:
    void put(std::uint64_t at, const void* bytes, std::size_t size) noexcept;

    log_ring* ring_;
    int wake_fd_;
    pid_t owner_;
    std::mutex mutex_;
    std::string_view label_;
};

/// A line in private memory.
struct log_line {
    prefork::level level = prefork::level::info;
    std::chrono::system_clock::time_point time;
    std::string text;
    std::string label = {};  ///< of the task that wrote it
};

/// The host's end: for one seat, one thread at a time.
class log_reader {
  public:
    explicit log_reader(log_ring& ring) noexcept : ring_(&ring) {}

    /// For a new worker, before it is forked.
    void reset() noexcept;
    /// Takes out what is there and appends it to `to`; with a line that says how many were dropped
    /// since the last time, and one if the ring was written over.
    void take(std::vector<log_line>& to);
    /// Asks to be woken; false if there is something already.
    [[nodiscard]] bool fall_asleep() noexcept;

  private:
    [[nodiscard]] bool parse(std::size_t size, std::vector<log_line>& to) const;

    log_ring* ring_;
    std::uint64_t position_ = 0;
    std::uint64_t dropped_ = 0;
    std::vector<std::byte> copy_;
};

}  // namespace prefork::logging

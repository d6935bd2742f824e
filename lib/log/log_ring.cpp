#include "log/log_ring.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/fail_point.hpp"

namespace prefork::logging {
namespace {

constexpr std::size_t filled_up(std::size_t size) { return (size + 7) & ~std::size_t{7}; }

std::string count_of_lines(std::uint64_t count) {
    return std::to_string(count) + (count == 1 ? " line" : " lines");
}

}  // namespace

// ---- the worker's end

log_writer::log_writer(log_ring& ring, int wake_fd) noexcept
    : ring_(&ring), wake_fd_(wake_fd), owner_(::getpid()) {}

bool log_writer::is_here() const noexcept { return ::getpid() == owner_; }

void log_writer::put(std::uint64_t at, const void* bytes, std::size_t size) noexcept {
    if (size == 0) return;  // memcpy() may not be given nullptr, and an empty label is that
    const std::size_t begin = at % log_ring::capacity;
    const std::size_t before_end = std::min(size, log_ring::capacity - begin);
    std::memcpy(ring_->bytes.data() + begin, bytes, before_end);
    std::memcpy(ring_->bytes.data(), static_cast<const char*>(bytes) + before_end,
                size - before_end);
}

void log_writer::set_label(std::string_view label) noexcept {
    const std::lock_guard held{mutex_};
    label_ = label.substr(0, 255);
}

bool log_writer::write(level at, std::chrono::system_clock::time_point time,
                       std::string_view text) noexcept {
    const std::lock_guard held{mutex_};
    text = text.substr(0, longest_line);
    const std::size_t told = label_.size() + text.size();
    const std::size_t size = sizeof(record_head) + filled_up(told);
    const std::uint64_t begin = ring_->written.load(std::memory_order_relaxed);
    // Acquire: the host has copied what we are about to write over.
    const std::uint64_t used = begin - ring_->read.load(std::memory_order_acquire);
    const bool room = used <= log_ring::capacity && size <= log_ring::capacity - used;
    if (room) {
        const record_head head{
            std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count(),
            static_cast<std::uint32_t>(told),
            static_cast<std::uint8_t>(at),
            static_cast<std::uint8_t>(label_.size()),
            {}};
        put(begin, &head, sizeof head);
        put(begin + sizeof head, label_.data(), label_.size());
        put(begin + sizeof head + label_.size(), text.data(), text.size());
        base::fail_point::pass("log.before_publish");
        ring_->written.store(begin + size, std::memory_order_seq_cst);
    } else {
        ring_->dropped.store(ring_->dropped.load(std::memory_order_relaxed) + 1,
                             std::memory_order_seq_cst);
    }
    base::fail_point::pass("log.before_wake");
    if (ring_->asleep.load(std::memory_order_seq_cst) != 0) {
        ring_->asleep.store(0, std::memory_order_relaxed);
        const std::uint64_t one = 1;
        static_cast<void>(::write(wake_fd_, &one, sizeof one));
    }
    return room;
}

// ---- the host's end

void log_reader::reset() noexcept {
    // Relaxed: the worker is forked after it, by a process that is asked by a message.
    ring_->written.store(0, std::memory_order_relaxed);
    ring_->dropped.store(0, std::memory_order_relaxed);
    ring_->read.store(0, std::memory_order_relaxed);
    ring_->asleep.store(1, std::memory_order_relaxed);
    position_ = 0;
    dropped_ = 0;
}

bool log_reader::fall_asleep() noexcept {
    ring_->asleep.store(1, std::memory_order_seq_cst);
    return ring_->written.load(std::memory_order_seq_cst) == position_ &&
           ring_->dropped.load(std::memory_order_seq_cst) == dropped_;
}

void log_reader::take(std::vector<log_line>& to) {
    const std::uint64_t written = ring_->written.load(std::memory_order_acquire);
    const std::uint64_t dropped = ring_->dropped.load(std::memory_order_relaxed);
    bool whole = true;
    if (written != position_) {
        const std::uint64_t used = written - position_;
        whole = used <= log_ring::capacity;
        if (whole) {
            const auto size = static_cast<std::size_t>(used);
            copy_.resize(size);
            const std::size_t begin = position_ % log_ring::capacity;
            const std::size_t before_end = std::min(size, log_ring::capacity - begin);
            std::memcpy(copy_.data(), ring_->bytes.data() + begin, before_end);
            std::memcpy(copy_.data() + before_end, ring_->bytes.data(), size - before_end);
            whole = parse(size, to);
        }
        position_ = written;
    }
    // Release: what was copied may be written over. Told again when nothing was there, for a worker
    // that has spoilt it finds no room for ever.
    ring_->read.store(position_, std::memory_order_release);
    const auto now = std::chrono::system_clock::now();
    if (!whole) {
        to.push_back({level::warning, now, "lines lost: the worker has written over its log ring"});
    }
    if (dropped != dropped_) {
        to.push_back({level::warning, now,
                      count_of_lines(dropped - dropped_) + " dropped: the log ring was full"});
        dropped_ = dropped;
    }
}

// `copy_` holds `size` bytes that a worker wrote. False at the first that no log_writer writes.
bool log_reader::parse(std::size_t size, std::vector<log_line>& to) const {
    for (std::size_t at = 0; at < size;) {
        record_head head;
        if (size - at < sizeof head) return false;
        std::memcpy(&head, copy_.data() + at, sizeof head);
        at += sizeof head;
        if (head.size > longest_line + head.label_size || head.label_size > head.size ||
            filled_up(head.size) > size - at ||
            head.level > static_cast<std::uint8_t>(level::error)) {
            return false;
        }
        const auto* const text = reinterpret_cast<const char*>(copy_.data() + at);
        to.push_back({static_cast<level>(head.level),
                      std::chrono::system_clock::time_point{
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(
                              std::chrono::nanoseconds{head.time_ns})},
                      std::string(text + head.label_size, text + head.size),
                      std::string(text, text + head.label_size)});
        at += filled_up(head.size);
    }
    return true;
}

}  // namespace prefork::logging

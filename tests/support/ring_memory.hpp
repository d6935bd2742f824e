#pragma once

#include <sys/mman.h>

#include <new>
#include <span>
#include <vector>

#include "ring/ring.hpp"

namespace prefork::test {

/// A ring in anonymous shared memory: usable by threads and by forked processes alike.
class ring_memory {
  public:
    explicit ring_memory(std::size_t slots, unsigned seats = 64)
        : size_(sizeof(layout) + seats * sizeof(ring::bed) +
                slots * (sizeof(ring::slot) + 2 * sizeof(std::uint64_t))),
          memory_(
              ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
        auto* at = static_cast<std::byte*>(memory_);
        layout_ = new (at) layout;
        beds_ = {reinterpret_cast<ring::bed*>(at + sizeof(layout)), seats};
        slots_ = {reinterpret_cast<ring::slot*>(at + sizeof(layout) + seats * sizeof(ring::bed)),
                  slots};
        auto* const entries = reinterpret_cast<std::atomic<std::uint64_t>*>(slots_.data() + slots);
        queues_ = {{entries, slots}, {entries + slots, slots}};
    }
    ~ring_memory() { ::munmap(memory_, size_); }
    ring_memory(const ring_memory&) = delete;
    ring_memory& operator=(const ring_memory&) = delete;

    [[nodiscard]] ring::ring make() {
        return {layout_->hints, slots_, queues_, ring::sleepers{layout_->hints, beds_}};
    }
    [[nodiscard]] ring::hints& hints() { return layout_->hints; }
    [[nodiscard]] ring::bed& bed(unsigned seat) { return beds_[seat]; }

  private:
    struct layout {
        ring::hints hints;
    };
    std::size_t size_;
    void* memory_;
    layout* layout_;
    std::span<ring::bed> beds_;
    std::span<ring::slot> slots_;
    ring::queue_entries queues_;
};

}  // namespace prefork::test

#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "prefork/export.hpp"

// What a shared_array holds on to. Not for users.

namespace prefork {
class pool;
}
namespace prefork::memory {
struct block;
}

namespace prefork::detail {

struct shared_block;  // lib/pool/shared_block.hpp
class exchange;
class pool_core;

/// How an array travels: where it lies in the region, which every process maps at the same address.
struct shared_wire {
    std::uint64_t address;
    std::uint64_t bytes;
};

/// A counted reference in the process that owns the block; in a worker, a view of an argument, or
/// the owner of a block of its own part that it hasn't sent yet.
class PREFORK_EXPORT shared_ref {
  public:
    shared_ref() noexcept = default;
    shared_ref(const shared_ref& other) noexcept;
    shared_ref(shared_ref&& other) noexcept
        : block_(std::exchange(other.block_, nullptr)),
          data_(std::exchange(other.data_, nullptr)),
          bytes_(std::exchange(other.bytes_, 0)) {}
    shared_ref& operator=(shared_ref other) noexcept {
        std::swap(block_, other.block_);
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~shared_ref();

    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

    /// \throws payload_too_large, wrong_process
    [[nodiscard]] static shared_ref allocate(pool& from, std::uint64_t count, std::size_t size);
    /// In a worker, from its own part; in the host, from its private memory.
    [[nodiscard]] static shared_ref allocate_here(std::uint64_t count, std::size_t size);

    /// Of a call's arguments or a task's result; the block stays until the other side has let go of
    /// it. An argument that the pool's workers can't see, because it lies in private memory or in
    /// another pool, is copied.
    [[nodiscard]] shared_wire send() const;
    /// \throws decode_error when the block isn't one that the sender may send
    [[nodiscard]] static shared_ref receive(shared_wire wire, std::size_t element_size,
                                            std::size_t alignment);

  private:
    friend class pool_core;
    friend shared_ref own_argument(pool_core& core, const memory::block& made, std::size_t bytes);
    friend shared_ref lend(std::byte* data, std::size_t bytes);
    shared_ref(shared_block* block, std::byte* data, std::size_t bytes) noexcept
        : block_(block), data_(data), bytes_(bytes) {}
    [[nodiscard]] shared_ref adopt(exchange& to) const;

    shared_block* block_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace prefork::detail

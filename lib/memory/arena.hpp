#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory/extents.hpp"

// Books in private memory over one part of the region (design.md §4: no allocator metadata in
// shared memory, so nothing to repair after a crash).
//
//   to 32 KiB   places in slabs of 256 KiB, four sizes to a doubling; pages come as a slab fills
//   larger      whole pages from the free ranges: warm ones (with pages) first, else cold ones
//
// A freed block stays warm, because reuse runs at 11 GB/s where first touch runs at 1.6. It merges
// with its neighbours, so that a burst of one size leaves nothing behind that another can't use.
// trim() makes warm ranges cold again.

namespace prefork::memory {

/// Gives and takes back the pages of one part. Called on the slow path only.
class page_source {
  public:
    virtual ~page_source() = default;
    /// Makes the pages safe to write, within the budget; an errno (EDQUOT: over budget), 0 if done.
    [[nodiscard]] virtual int secure(std::span<std::byte> bytes) = 0;
    virtual void release(std::span<std::byte> bytes) = 0;
};

struct slab;

struct block {
    std::byte* data = nullptr;
    std::uint64_t size = 0;  ///< bytes that may be written: at least what was asked for
    slab* home = nullptr;    ///< of a small block

    explicit operator bool() const noexcept { return data != nullptr; }
};

/// One thread at a time. Cost of a block and its release: 20 to 40 ns up to 32 KiB, 100 ns above,
/// where pages are warm; else a system call more, and the kernel's time for the pages.
class arena {
  public:
    /// `part` begins at a page. `limit` is what all parts together may hold: a small budget gets
    /// its pages in small steps, or the first writer would have it all.
    arena(std::span<std::byte> part, page_source& pages, std::uint64_t limit = ~std::uint64_t{0});
    ~arena();
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;

    /// `size` bytes that can be written without a signal, aligned to 64. An empty block: `error()`
    /// says why (EDQUOT over budget, ENOSPC and ENOMEM from the kernel or the part's end). Before
    /// it refuses, it gives back the pages of all free blocks.
    [[nodiscard]] block allocate(std::uint64_t size);
    void release(const block& used);

    [[nodiscard]] int error() const noexcept { return error_; }
    /// Pages held, in bytes, in use or not.
    [[nodiscard]] std::uint64_t secured_bytes() const noexcept { return secured_; }
    [[nodiscard]] std::uint64_t used_blocks() const noexcept { return used_; }

    /// Gives pages that no block needs back until at most `keep` bytes of them are held.
    void trim(std::uint64_t keep);

  private:
    static constexpr unsigned small_classes = 32;

    [[nodiscard]] block try_allocate(std::uint64_t size);
    [[nodiscard]] block allocate_pages(std::uint64_t size);
    [[nodiscard]] block allocate_small(unsigned size_class);
    [[nodiscard]] slab* slab_with_room(unsigned size_class);
    [[nodiscard]] slab* make_slab(unsigned size_class);
    [[nodiscard]] bool carve(slab& from);
    [[nodiscard]] bool secure(extent range);
    void release_small(const block& used);
    void close(slab& of);
    void dissolve(slab& of);
    [[nodiscard]] std::span<std::byte> bytes_of(extent range) const noexcept;

    std::span<std::byte> part_;
    page_source* pages_;
    extents warm_;
    extents cold_;
    std::uint64_t step_;
    std::uint64_t secured_ = 0;
    std::uint64_t used_ = 0;
    int error_ = 0;
    std::array<std::vector<slab*>, small_classes> open_;  ///< that have a place left
    std::vector<std::unique_ptr<slab>> slabs_;
    std::vector<slab*> unused_slabs_;
};

}  // namespace prefork::memory

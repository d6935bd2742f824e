#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "memory/arena.hpp"
#include "memory/budget.hpp"

// A worker's own part: it allocates, the host releases.
//
//   | header, 64 bytes: released (host), size (worker) | payload, aligned to 64 |
//
// The books are the worker's private memory and die with it; then the whole part is dropped, once
// the last of its results is released.

namespace prefork::memory {

struct alignas(64) result_header {
    std::atomic<std::uint32_t> released;  ///< written by the host, once; read by the worker
    std::uint32_t reserved;
    std::atomic<std::uint64_t> size;  ///< of the payload; written by the worker, once
};
static_assert(sizeof(result_header) == 64 && std::atomic<std::uint64_t>::is_always_lock_free);

class result_arena final : private page_source {
  public:
    result_arena(std::span<std::byte> part, budget& allowed, std::size_t writer)
        : arena_(part, *this, allowed.limit()), budget_(&allowed), writer_(writer) {}

    /// A payload of `size` bytes, or nullptr: `error()` says why. Blocks that the host has released
    /// since are taken back first.
    [[nodiscard]] std::byte* allocate(std::uint64_t size);
    /// Back at once: nobody was told of it.
    void withdraw(std::byte* payload);
    /// Why allocate() gave nothing: EDQUOT is the budget; ENOSPC or ENOMEM the kernel or the part.
    [[nodiscard]] int error() const noexcept { return arena_.error(); }

    [[nodiscard]] std::uint64_t secured_bytes() const noexcept { return arena_.secured_bytes(); }
    /// Gives the pages that no result needs back until at most `keep` bytes of them are held. A
    /// worker that goes to sleep without it keeps its share of the budget from all others.
    void trim(std::uint64_t keep);

  private:
    [[nodiscard]] int secure(std::span<std::byte> bytes) override;
    void release(std::span<std::byte> bytes) override;
    [[nodiscard]] std::byte* lend(std::uint64_t size);
    void sweep(std::size_t count);

    arena arena_;
    budget* budget_;
    std::size_t writer_;
    std::vector<block> lent_;
    std::size_t next_to_sweep_ = 0;
};

/// Host: the payload bytes [offset, offset + size) that a worker says lie in `part`, or nothing
/// when they don't, aren't aligned, have no room for a header before them, or are more than the
/// header says.
[[nodiscard]] std::optional<std::span<std::byte>> checked_result(std::span<std::byte> part,
                                                                 std::uint64_t offset_in_part,
                                                                 std::uint64_t size) noexcept;

/// Host: `payload`, from checked_result(), is no longer needed.
void release_result(std::byte* payload) noexcept;

}  // namespace prefork::memory

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "memory/arena.hpp"
#include "memory/budget.hpp"
#include "memory/region.hpp"

namespace prefork::memory {

/// The host's part: it allocates and releases, workers only read. Pages come out of the budget
/// first, then from the kernel, so that writing to a block can't end in a signal.
///
/// One thread at a time: the pool's mutex.
class argument_arena final : private page_source {
  public:
    /// `writer` is the host's word in `allowed`.
    argument_arena(region& shared, budget& allowed, std::size_t writer)
        : region_(&shared),
          budget_(&allowed),
          writer_(writer),
          arena_(shared.arguments(), *this, allowed.limit()) {}

    /// As arena::allocate().
    [[nodiscard]] block allocate(std::uint64_t size) { return arena_.allocate(size); }
    void release(const block& used) { arena_.release(used); }
    /// Why allocate() gave nothing: EDQUOT is the budget; ENOSPC or ENOMEM the kernel or the part.
    [[nodiscard]] int error() const noexcept { return arena_.error(); }

    [[nodiscard]] std::uint64_t secured_bytes() const noexcept { return arena_.secured_bytes(); }
    [[nodiscard]] std::uint64_t used_blocks() const noexcept { return arena_.used_blocks(); }
    /// As arena::trim(). The budget that it frees is anybody's.
    void trim(std::uint64_t keep) { arena_.trim(keep); }

  private:
    [[nodiscard]] int secure(std::span<std::byte> bytes) override;
    void release(std::span<std::byte> bytes) override;

    region* region_;
    budget* budget_;
    std::size_t writer_;
    arena arena_;
};

}  // namespace prefork::memory

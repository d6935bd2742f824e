#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "memory/arena.hpp"
#include "prefork/detail/shared_block.hpp"

namespace prefork::detail {

class pool_core;

/// Counts the references to a block, in the private memory of the process that owns it.
struct shared_block {
    enum class kind : std::uint8_t {
        argument,  ///< the host's, in the argument part
        result,    ///< of a worker's part, sent to the host
        own,       ///< of this worker's own part
        heap,      ///< private memory: an inline run's
    };
    std::atomic<std::uint64_t> references{1};
    kind what = kind::heap;
    pool_core* core = nullptr;
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    memory::block memory;  ///< of an argument
    bool sent = false;     ///< own: the host decides now when it is released
};

/// While the host encodes a call or decodes a result, and while a worker runs a task: what is sent
/// and received belongs to it. One at a time a thread.
class exchange {
  public:
    /// Host, around the encoding of a call: what it sends is kept in `kept`.
    exchange(pool_core* core, std::vector<shared_ref>* kept) noexcept;
    /// Host, around the decoding of a result committed by `seat`.
    exchange(pool_core* core, unsigned seat) noexcept;
    ~exchange();
    exchange(const exchange&) = delete;
    exchange& operator=(const exchange&) = delete;

    [[nodiscard]] static exchange* current() noexcept;

    pool_core* core;
    std::vector<shared_ref>* kept = nullptr;
    unsigned seat = ~0u;

  private:
    exchange* outer_;
};

/// In a new worker: the host's books of blocks may have been in the middle of a change.
void forget_inherited_blocks();

}  // namespace prefork::detail

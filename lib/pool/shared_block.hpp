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
        lent,      ///< nobody's to free
    };
    std::atomic<std::uint64_t> references{1};
    kind what = kind::heap;
    pool_core* core = nullptr;
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    memory::block memory;  ///< of an argument
    bool sent = false;     ///< own: the host decides now when it is released
};

/// An array that a pool's workers can't see, and its copy in the pool's argument part.
struct adopted {
    shared_ref from;
    shared_ref copy;  ///< none yet: the call has to be encoded again once there is one
};

/// While the host encodes a call or decodes a result, and while a worker runs a task: what is sent
/// and received belongs to it. One at a time a thread.
class exchange {
  public:
    /// Host, around the encoding of a call: what it sends is kept in `kept`.
    exchange(pool_core* core, std::vector<shared_ref>* kept) noexcept;
    /// The same for a call that goes to a worker: what its workers can't see goes to `adoptions`,
    /// and is sent as its copy where that is there.
    exchange(pool_core* core, std::vector<shared_ref>* kept,
             std::vector<adopted>* adoptions) noexcept;
    /// Host, around the decoding of a result committed by `seat`.
    exchange(pool_core* core, unsigned seat) noexcept;
    ~exchange();
    exchange(const exchange&) = delete;
    exchange& operator=(const exchange&) = delete;

    [[nodiscard]] static exchange* current() noexcept;

    pool_core* core;
    std::vector<shared_ref>* kept = nullptr;
    std::vector<adopted>* adoptions = nullptr;
    unsigned seat = ~0u;

  private:
    exchange* outer_;
};

/// A reference to a new block of the argument part of `core`.
[[nodiscard]] shared_ref own_argument(pool_core& core, const memory::block& made,
                                      std::size_t bytes);

/// A reference to memory that stays to the end of this process, as an array that any task may name.
[[nodiscard]] shared_ref lend(std::byte* data, std::size_t bytes);

/// In a new worker: the host's books of blocks may have been in the middle of a change.
void forget_inherited_blocks();

}  // namespace prefork::detail

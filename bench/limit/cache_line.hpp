#pragma once

#include <atomic>

#include "bench/support/other_process.hpp"
#include "bench/support/spin.hpp"

namespace prefork::bench {

/// What the machine allows a round trip: two cache lines that two processes pass back and forth,
/// both spinning, no payload.
class cache_line_ping_pong {
  public:
    cache_line_ping_pong() : other_([this] { answer(); }) {}

    /// There and back.
    void bounce() {
        lines_->there.store(++turn_, std::memory_order_release);
        spin_until([&] { return lines_->back.load(std::memory_order_acquire) == turn_; });
    }

  private:
    // 128: processors fetch lines in pairs.
    struct lines {
        alignas(128) std::atomic<unsigned> there;
        alignas(128) std::atomic<unsigned> back;
    };

    [[noreturn]] void answer() {
        for (unsigned turn = 1;; ++turn) {
            spin_until([&] { return lines_->there.load(std::memory_order_acquire) == turn; });
            lines_->back.store(turn, std::memory_order_release);
        }
    }

    shared<lines> lines_;
    unsigned turn_ = 0;
    other_process other_;
};

}  // namespace prefork::bench

#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "bench/support/other_process.hpp"

namespace prefork::bench {

/// What the kernel allows a round trip between two processes that sleep while they wait: a wake and
/// a sleep each.
class futex_hand_over {
  public:
    futex_hand_over() : other_([this] { answer(); }) {}

    /// There and back.
    void bounce() {
        set(words_->there, ++turn_);
        wait(words_->back, turn_);
    }

  private:
    using word = std::atomic<std::uint32_t>;
    struct words {
        alignas(128) word there;
        alignas(128) word back;
    };

    static void set(word& at, std::uint32_t turn) {
        at.store(turn, std::memory_order_release);
        ::syscall(SYS_futex, &at, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }
    static void wait(word& at, std::uint32_t turn) {
        while (at.load(std::memory_order_acquire) != turn) {
            ::syscall(SYS_futex, &at, FUTEX_WAIT, turn - 1, nullptr, nullptr, 0);
        }
    }
    [[noreturn]] void answer() {
        for (std::uint32_t turn = 1;; ++turn) {
            wait(words_->there, turn);
            set(words_->back, turn);
        }
    }

    shared<words> words_;
    std::uint32_t turn_ = 0;
    other_process other_;
};

}  // namespace prefork::bench

#pragma once

#include <atomic>
#include <thread>

#include "prefork/detail/pool_core.hpp"

namespace prefork::detail {

/// Sees two threads in the calls of an object that belongs to one at a time. Sees overlap, not
/// taking turns, which is allowed. Not a lock: nobody waits, and two that begin within the same few
/// nanoseconds may be missed, because an exchange, 7 ns, would cost a group 5 % of its speed. Moves
/// with its object, as nobody's.
class one_thread {
  public:
    one_thread() noexcept = default;
    one_thread(one_thread&&) noexcept {}
    one_thread& operator=(one_thread&&) noexcept { return *this; }

    /// A call, from its beginning to its end. \throws std::invalid_argument if another thread is in
    /// one. A task that runs in the caller may use the object that its caller is using.
    class call {
      public:
        explicit call(one_thread& of) : of_(of) {
            const std::thread::id user = of.user_.load(std::memory_order_relaxed);
            mine_ = user == std::thread::id{};
            if (!mine_ && user != self()) throw_group_shared();
            if (mine_) of.user_.store(self(), std::memory_order_relaxed);
        }
        ~call() {
            if (mine_) of_.user_.store({}, std::memory_order_relaxed);
        }
        call(const call&) = delete;
        call& operator=(const call&) = delete;

      private:
        static std::thread::id self() noexcept { return std::this_thread::get_id(); }

        one_thread& of_;
        bool mine_;
    };

  private:
    std::atomic<std::thread::id> user_{};
};

}  // namespace prefork::detail

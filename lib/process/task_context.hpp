#pragma once

#include <cstdint>
#include <utility>

namespace prefork::process {

/// What this_task::seed() is made of, for the task that this thread runs; in a worker, and in the
/// host for tasks that run inline. A task inside a task (nested use runs inline) has its outer
/// one's seed and its own number among that one's, so that it is the same wherever the outer runs.
class task_context {
  public:
    /// `number` is read when a seed is asked for, not before: in a worker it lies in a cache line
    /// that is the host's.
    task_context(std::uint64_t pool_seed, const std::uint64_t& number) noexcept
        : pool_seed_(pool_seed), number_(&number) {}

    [[nodiscard]] std::uint64_t seed() const noexcept;
    /// Of a task that begins inside this one.
    [[nodiscard]] std::uint64_t next_inner_number() noexcept {
        if (std::exchange(inner_of_, item_) != item_) inner_ = 0;
        return ++inner_;
    }
    [[nodiscard]] std::uint64_t& item() noexcept { return item_; }

    /// nullptr outside of a task.
    [[nodiscard]] static task_context* current() noexcept;

    /// Makes a context this thread's current one, and the former again at its end.
    class scope {
      public:
        explicit scope(task_context& here) noexcept;
        ~scope();
        scope(const scope&) = delete;
        scope& operator=(const scope&) = delete;

      private:
        task_context* outer_;
    };

  private:
    std::uint64_t pool_seed_;
    const std::uint64_t* number_;
    std::uint64_t item_ = 0;  ///< of a chunk of a map: which of its items
    std::uint64_t inner_ = 0;
    std::uint64_t inner_of_ = 0;  ///< the item that inner_ counts for
};

}  // namespace prefork::process

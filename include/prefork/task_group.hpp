#pragma once

#include <chrono>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "prefork/detail/one_thread.hpp"
#include "prefork/pool.hpp"

// Throwing all through, so nothing of it is declared without exceptions.
#ifdef __cpp_exceptions

namespace prefork {

struct group_options {
    /// Per usable CPU; above it, strictly, the group's tasks run in the caller. Unset: the pool's.
    std::optional<double> max_load_average = std::nullopt;
    /// While get() waits, the caller runs tasks too, that no worker has begun: the last ones first.
    /// Isolation is given up for those: its own life is then at stake, and get_for() waits for the
    /// one that it runs.
    bool caller_helps = false;
};

/// Many tasks whose results are wanted together, in the order of submission. The gate is asked
/// once, at construction. One thread at a time: a call while another thread is in one throws
/// std::invalid_argument. Destroying it abandons what was not fetched.
template <class T>
class task_group {
  public:
    /// \throws std::invalid_argument
    explicit task_group(pool& workers, const group_options& options = {})
        : view_(workers.view()),
          core_(&detail::core_of(workers)),
          caller_helps_(options.caller_helps) {
        const double* const limit = options.max_load_average ? &*options.max_load_average : nullptr;
        ran_inline_ = !detail::gate_open(*core_, limit);
        detail::call_options how = detail::options_of(*core_);
        how.here = ran_inline_;
        view_ = {*core_, how};
    }

    /// As pool::submit(); the result, converted to T, is the group's. \throws group_collected after
    /// get()
    template <class Fn, class... Args>
    void run(Fn&& fn, Args&&... arguments) {
        const detail::one_thread::call here{user_};
        if (collected_) detail::throw_group_collected();
        using result = std::remove_cv_t<detail::result_of<Fn, Args...>>;
        static_assert(std::is_convertible_v<result, T>,
                      "prefork: the task's result can't be converted to the group's results");
        tasks_.push_back(
            view_.template submit_to<T>(std::forward<Fn>(fn), std::forward<Args>(arguments)...));
    }

    /// Waits for all, and returns their results in the order of run(). If tasks failed, the first
    /// error in that order is thrown, after all have ended. \throws group_collected the second time
    auto get() {
        const detail::one_thread::call here{user_};
        if (collected_) detail::throw_group_collected();
        help(detail::time_point::max());
        return collect();
    }
    /// As get(). \throws wait_timeout after `bound`; the tasks go on, and get() may be tried again
    template <class Rep, class Period>
    auto get_for(std::chrono::duration<Rep, Period> bound) {
        const detail::one_thread::call here{user_};
        if (collected_) detail::throw_group_collected();
        const detail::time_point end = detail::deadline_in(bound);
        help(end);
        for (const auto& task : tasks_) {
            if (!task.wait_until(end)) detail::throw_wait_timeout(detail::saturated(bound));
        }
        return collect();
    }

    [[nodiscard]] std::size_t size() const noexcept { return tasks_.size(); }
    /// The gate was shut: this process did the work.
    [[nodiscard]] bool ran_inline() const noexcept { return ran_inline_; }

  private:
    // From the end: the workers come from the front.
    void help(detail::time_point end) {
        if (!caller_helps_) return;
        for (std::size_t i = tasks_.size(); i > 0 && detail::time_point::clock::now() < end; --i) {
            detail::help(*core_, detail::future_access::task_of(tasks_[i - 1]).task);
        }
    }

    // One pass: each result makes room for the next, and is looked at once. An error waits until
    // all have ended.
    auto collect() {
        collected_ = true;
        std::vector<future<T>> tasks = std::exchange(tasks_, {});
        std::vector<std::conditional_t<std::is_void_v<T>, char, T>> results;
        if constexpr (!std::is_void_v<T>) results.reserve(tasks.size());
        std::exception_ptr failure;
        for (auto& task : tasks) {
            if (failure) {
                task.wait();
                continue;
            }
            try {
                if constexpr (std::is_void_v<T>) {
                    task.get();
                } else {
                    results.push_back(task.get());
                }
            } catch (...) {
                failure = std::current_exception();
            }
        }
        if (failure) std::rethrow_exception(failure);
        if constexpr (!std::is_void_v<T>) return results;
    }

    basic_view<codec::automatic_t> view_;
    detail::pool_core* core_;
    std::vector<future<T>> tasks_;
    bool caller_helps_ = false;
    bool ran_inline_ = false;
    bool collected_ = false;
    detail::one_thread user_;
};

}  // namespace prefork

#endif

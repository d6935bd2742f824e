#pragma once

#include <chrono>
#include <type_traits>
#include <utility>

#include "prefork/detail/pool_core.hpp"

namespace prefork {

template <class Codec>
class basic_view;

/// One task's result. Moves, doesn't copy; belongs to one thread at a time.
///
/// Destroying it abandons the task: it still runs, its result is dropped, and nothing blocks. It
/// may outlive the pool, which keeps the results that were there when it ended.
template <class T>
class future {
  public:
    future() noexcept = default;
    future(future&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)), task_(other.task_), decode_(other.decode_) {}
    future& operator=(future&& other) noexcept {
        if (this != &other) {
            abandon();
            core_ = std::exchange(other.core_, nullptr);
            task_ = other.task_;
            decode_ = other.decode_;
        }
        return *this;
    }
    ~future() { abandon(); }

    /// False once the result was fetched, or for a future that was moved from.
    [[nodiscard]] bool valid() const noexcept { return core_ != nullptr; }
    /// The task has ended: get() won't wait. Cost: one load.
    [[nodiscard]] bool ready() const { return detail::is_ready(checked(), task_); }

    /// Waits, and returns the value or throws the task's error. Once.
    T get() {
        static_cast<void>(detail::wait(checked(), task_, detail::time_point::max()));
        return fetch();
    }
    /// As get(). \throws wait_timeout after `bound`; the task goes on, and so does this future
    template <class Rep, class Period>
    T get_for(std::chrono::duration<Rep, Period> bound) {
        if (!wait_for(bound)) detail::throw_wait_timeout(bound);
        return fetch();
    }
    void wait() const {
        static_cast<void>(detail::wait(checked(), task_, detail::time_point::max()));
    }
    /// True when the task has ended within `bound`.
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> bound) const {
        return wait_until(detail::deadline_in(bound));
    }
    bool wait_until(std::chrono::steady_clock::time_point end) const {
        return detail::wait(checked(), task_, end);
    }

    /// Gives the task up: get() then throws cancelled. One that waits never starts; one that runs
    /// loses its worker. False when it had ended before.
    bool cancel() { return detail::cancel(checked(), task_); }

  private:
    template <class>
    friend class basic_view;
    template <class>
    friend class task_group;

    using decoder = T (*)(const detail::outcome&);

    future(detail::pool_core& core, detail::ticket task, decoder decode) noexcept
        : core_(&core), task_(task), decode_(decode) {}

    T fetch() {
        const detail::outcome got = detail::take(*std::exchange(core_, nullptr), task_);
        return decode_(got);
    }
    void abandon() noexcept {
        if (core_ != nullptr) detail::abandon(*std::exchange(core_, nullptr), task_);
    }
    [[nodiscard]] detail::pool_core& checked() const {
        if (core_ == nullptr) detail::throw_no_result();
        return *core_;
    }

    detail::pool_core* core_ = nullptr;
    detail::ticket task_;
    decoder decode_ = nullptr;
};

}  // namespace prefork

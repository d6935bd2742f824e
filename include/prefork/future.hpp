#pragma once

#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "prefork/detail/pool_core.hpp"
#include "prefork/expected.hpp"

namespace prefork {

template <class Codec>
class basic_view;

namespace detail {
struct future_access;
}

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

    /// Waits, and returns the value or what went wrong; throws nothing. Once.
    [[nodiscard]] expected<T> result() noexcept {
        // Without exceptions nothing here is destroyed by one that passes: so it looks for the
        // task's error, and only a broken payload is decoded in vain.
        detail::outcome got;
        auto taking = [&] {
            static_cast<void>(detail::wait(checked(), task_, detail::time_point::max()));
            got = detail::take(*std::exchange(core_, nullptr), task_);
        };
        if (const std::exception_ptr thrown = detail::guarded(taking)) return failure{thrown};
        if (got.failure()) return failure{got.failure()};
        std::optional<expected<T>> value;
        auto decoding = [&] {
            if constexpr (std::is_void_v<T>) {
                decode_(got);
                value.emplace();
            } else {
                value.emplace(decode_(got));
            }
        };
        if (const std::exception_ptr thrown = detail::guarded(decoding)) return failure{thrown};
        return std::move(*value);
    }

#ifdef __cpp_exceptions
    /// Waits, and returns the value or throws the task's error. Once.
    T get() {
        static_cast<void>(detail::wait(checked(), task_, detail::time_point::max()));
        return fetch();
    }
    /// As get(). \throws wait_timeout after `bound`; the task goes on, and so does this future
    template <class Rep, class Period>
    T get_for(std::chrono::duration<Rep, Period> bound) {
        if (!wait_for(bound)) detail::throw_wait_timeout(detail::saturated(bound));
        return fetch();
    }
#endif

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
    /// Waits until the task has ended, or `stop` is requested: then false, and the task goes on.
    bool wait(const std::stop_token& stop) const {
        return detail::wait(checked(), task_, detail::time_point::max(), stop);
    }
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> bound, const std::stop_token& stop) const {
        return detail::wait(checked(), task_, detail::deadline_in(bound), stop);
    }

    /// Has pool::poll() call `callback` once the task has ended: as `callback()`, and this future
    /// still has the result; or, if it takes one, with this future, or with its result as
    /// expected<T>, and this one is empty from now on. The call comes even when this future is
    /// destroyed before; at the pool's end, where no poll() comes any more, in its destructor.
    template <class Callback>
    void on_ready(Callback callback);

    /// Until the task has ended the coroutine is suspended; pool::poll() resumes it. Gives what
    /// get() gives.
    auto operator co_await() &&;

    /// Gives the task up: get() then throws cancelled. One that waits never starts; one that runs
    /// is asked to stop, and loses its worker when the pool's `grace` is over. False when it had
    /// ended before.
    bool cancel() { return detail::cancel(checked(), task_); }

  private:
    template <class>
    friend class basic_view;
    template <class>
    friend class task_group;
    friend struct detail::future_access;

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

namespace detail {

struct future_access {
    /// \throws std::invalid_argument when it has none
    template <class T>
    [[nodiscard]] static pool_task task_of(const future<T>& from) {
        return {&from.checked(), from.task_};
    }
};

/// What co_await makes of a future.
template <class T>
class awaiter {
  public:
    explicit awaiter(future<T>&& from) : from_(std::move(from)) {}
    [[nodiscard]] bool await_ready() const { return from_.ready(); }
    void await_suspend(std::coroutine_handle<> caller) {
        const auto [core, task] = future_access::task_of(from_);
        watch(*core, task, [caller] { caller.resume(); });
    }
    T await_resume() {
#ifdef __cpp_exceptions
        return from_.get();
#else
        return std::move(from_.result()).value();
#endif
    }

  private:
    future<T> from_;
};

}  // namespace detail

template <class T>
template <class Callback>
void future<T>::on_ready(Callback callback) {
    detail::pool_core& core = checked();
    const detail::ticket task = task_;
    if constexpr (std::is_invocable_v<Callback&>) {
        detail::watch(core, task, std::move(callback));
    } else {
        // std::function copies, a future doesn't.
        auto own = std::make_shared<future>(std::move(*this));
        detail::watch(core, task, [own, callback = std::move(callback)]() mutable {
            if constexpr (std::is_invocable_v<Callback&, future>) {
                callback(std::move(*own));
            } else if constexpr (std::is_invocable_v<Callback&, future&>) {
                callback(*own);
            } else {
                static_assert(std::is_invocable_v<Callback&, expected<T>>,
                              "prefork: a callback takes nothing, the future, or an expected<T>");
                callback(own->result());
            }
        });
    }
}

template <class T>
auto future<T>::operator co_await() && {
    return detail::awaiter<T>{std::move(*this)};
}

}  // namespace prefork

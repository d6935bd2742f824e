#pragma once

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "prefork/error.hpp"
#include "prefork/export.hpp"

namespace prefork {

enum class failure_kind : std::uint8_t {
    task_error,
    worker_lost,
    memory_exceeded,
    task_timeout,
    task_expired,
    cancelled,
    queue_full,
    payload_too_large,
    decode_error,
    unknown_function,
    worker_start_failed,
    pool_closed,
    pool_broken,
    wrong_process,
    invalid_argument,  ///< std::invalid_argument: a call or an option that makes no sense
    system,            ///< std::system_error: a kernel call that failed in the host
    other,
};

template <class T>
class expected;

/// Why there is no value: what get() would have thrown, for programs that don't catch. Copies share
/// one state. Threads: any.
class PREFORK_EXPORT failure {
  public:
    /// Of what was thrown; not nullptr.
    explicit failure(std::exception_ptr thrown);

    [[nodiscard]] failure_kind kind() const noexcept;
    /// The message. Cost: as task_lost::what().
    [[nodiscard]] const std::string& what() const noexcept;
    /// task_error: the exception's class in the worker; else empty.
    [[nodiscard]] const std::string& type_name() const noexcept;
    /// worker_lost, memory_exceeded and task_timeout: how the task ended; else nothing but
    /// defaults.
    [[nodiscard]] const loss& details() const;
    /// The same ones: a line a frame; else empty.
    [[nodiscard]] const std::string& stack_trace() const { return details().stack_trace; }
    /// The same ones: task_lost::save(). Of the others there is nothing to save (invalid_argument).
    [[nodiscard]] expected<void> save(const std::string& path) const;
    /// The exception itself.
    [[nodiscard]] const std::exception_ptr& exception() const noexcept;
#ifdef __cpp_exceptions
    [[noreturn]] void raise() const { std::rethrow_exception(exception()); }
#endif

  private:
    struct state;
    std::shared_ptr<state> state_;
};

namespace detail {

/// What `call(argument)` threw, or nothing: for headers that need no exceptions.
[[nodiscard]] PREFORK_EXPORT std::exception_ptr guarded(void (*call)(void*),
                                                        void* argument) noexcept;
template <class Call>
[[nodiscard]] std::exception_ptr guarded(Call& call) noexcept {
    return guarded([](void* self) { (*static_cast<Call*>(self))(); }, &call);
}

}  // namespace detail

/// A value or a failure, in the manner of C++23's std::expected.
template <class T>
class expected {
    using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  public:
    using value_type = T;
    using error_type = failure;

    expected() requires std::is_void_v<T>
    = default;
    expected(stored value) : state_(std::in_place_index<0>, std::move(value)) {}
    expected(failure why) : state_(std::in_place_index<1>, std::move(why)) {}

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

    /// The value; where there is none, throws the failure, or aborts without exceptions.
    stored& value() & { return checked(), *std::get_if<0>(&state_); }
    const stored& value() const& { return checked(), *std::get_if<0>(&state_); }
    stored&& value() && { return checked(), std::move(*std::get_if<0>(&state_)); }
    /// Only with a value.
    stored& operator*() & noexcept { return *std::get_if<0>(&state_); }
    const stored& operator*() const& noexcept { return *std::get_if<0>(&state_); }
    stored&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    stored* operator->() noexcept { return std::get_if<0>(&state_); }
    const stored* operator->() const noexcept { return std::get_if<0>(&state_); }
    template <class Other>
    [[nodiscard]] T value_or(Other&& other) const& {
        return has_value() ? **this : static_cast<T>(std::forward<Other>(other));
    }
    template <class Other>
    [[nodiscard]] T value_or(Other&& other) && {
        return has_value() ? std::move(**this) : static_cast<T>(std::forward<Other>(other));
    }
    /// Only without one.
    [[nodiscard]] const failure& error() const noexcept { return *std::get_if<1>(&state_); }

  private:
    void checked() const {
        if (has_value()) return;
#ifdef __cpp_exceptions
        error().raise();
#else
        std::abort();
#endif
    }

    std::variant<stored, failure> state_;
};

}  // namespace prefork

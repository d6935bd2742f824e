#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include "prefork/future.hpp"

// Waiting for several futures at once, of one pool or of several.

namespace prefork {

namespace detail {

template <class T>
inline constexpr bool is_future = false;
template <class T>
inline constexpr bool is_future<future<T>> = true;

template <class Range>
concept range_of_futures = std::ranges::forward_range<Range> &&
    is_future<std::remove_cv_t<std::ranges::range_value_t<Range>>>;

}  // namespace detail

/// Waits until the task of one of `futures` has ended, at most until `end`; its position, the first
/// if there are several. Nothing when the time is over, or without futures. Which have to be valid.
template <detail::range_of_futures Range>
[[nodiscard]] std::optional<std::size_t> when_any_until(const Range& futures,
                                                        std::chrono::steady_clock::time_point end) {
    std::vector<detail::pool_task> tasks;
    for (const auto& each : futures) tasks.push_back(detail::future_access::task_of(each));
    if (tasks.empty()) return std::nullopt;
    return detail::wait_any(tasks, end);
}
template <detail::range_of_futures Range, class Rep, class Period>
[[nodiscard]] std::optional<std::size_t> when_any_for(const Range& futures,
                                                      std::chrono::duration<Rep, Period> bound) {
    return when_any_until(futures, detail::deadline_in(bound));
}

/// Waits until the task of one of `futures` has ended; its position. There has to be one.
template <detail::range_of_futures Range>
std::size_t when_any(const Range& futures) {
    return when_any_until(futures, detail::time_point::max()).value_or(0);
}
/// The same of futures of different types.
template <class... Ts>
requires(sizeof...(Ts) > 0) std::size_t when_any(const future<Ts>&... futures) {
    const detail::pool_task tasks[] = {detail::future_access::task_of(futures)...};
    return detail::wait_any(tasks, detail::time_point::max()).value_or(0);
}

/// Waits until the tasks of all `futures` have ended; the futures still have their results.
template <detail::range_of_futures Range>
void when_all(const Range& futures) {
    for (const auto& each : futures) each.wait();
}
template <class... Ts>
requires(sizeof...(Ts) > 0) void when_all(const future<Ts>&... futures) { (futures.wait(), ...); }

}  // namespace prefork

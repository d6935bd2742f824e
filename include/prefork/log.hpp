#pragma once

#include <sys/types.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <type_traits>

#include "prefork/detail/log_argument.hpp"
#include "prefork/export.hpp"

// Lines for people. In a worker they go through shared memory to the host's handler, and reach it
// even if the worker crashes with its next instruction.

namespace prefork {

/// One line, as the handler gets it; what it refers to is valid during the call only.
struct log_record {
    prefork::level level = prefork::level::info;
    /// At most 1000 bytes; what was longer ends in "...".
    std::string_view text;
    pid_t pid = 0;
    std::string_view pool;           ///< its name; empty outside a worker
    std::optional<unsigned> worker;  ///< its index; unset outside a worker
    std::chrono::system_clock::time_point time;
    std::string_view label;  ///< of the task that wrote it; empty for one without, and inline
};

using log_handler = std::function<void(const log_record&)>;

/// From now on lines go to `handler`; an empty one is the default: one line by a single write(2) on
/// standard error, "prefork: [warning] render/3: text". Returns the former, which a thread that has
/// begun a call may still be in.
///
/// It is called by the thread that logs, and for lines of workers by a thread of the pool, several
/// at once. What it throws is swallowed; what it logs itself goes to standard error. It may use
/// pools, but must neither wait for a result nor destroy a pool, and holds up its pool's deadlines
/// while it runs. In a worker there is nothing to set: the host's handler counts.
PREFORK_EXPORT log_handler set_log_handler(log_handler handler);

/// Lines below `least` are dropped: at first those below `info`. Workers have what was set when
/// their pool was made.
PREFORK_EXPORT void set_log_level(level least) noexcept;

namespace detail {
/// Of this process. Here so that a line that is dropped costs one load.
PREFORK_EXPORT extern std::atomic<level> log_threshold;
PREFORK_EXPORT void log_line(level at, std::string_view format, const log_argument* arguments,
                             std::size_t count) noexcept;
}  // namespace detail

/// A text with as many {} as there are arguments, looked at by the compiler; {{ and }} are braces.
template <class... Args>
class basic_log_format {
  public:
    template <class Text>
    requires std::convertible_to<const Text&, std::string_view>
    consteval basic_log_format(const Text& text) : text_(text) {
        detail::check_log_format(text_, sizeof...(Args));
    }
    [[nodiscard]] std::string_view text() const noexcept { return text_; }

  private:
    std::string_view text_;
};

template <class... Args>
using log_format = basic_log_format<std::type_identity_t<Args>...>;

/// One line to the handler. Strings, C strings, bool, char, numbers, pointers and enums (as
/// numbers) fill the places; floating point in as few digits as read back the same.
///
/// In a worker it returns once the line is in that worker's part of the shared memory. It never
/// waits for the host: a worker that is faster than the handler loses lines, and the handler gets
/// one that says how many. A process that a task forks writes to standard error.
///
/// Threads: any, in a worker too. Never from a signal handler. No allocation in a worker.
template <class... Args>
void log(level at, log_format<Args...> format, const Args&... arguments) noexcept {
    // Relaxed: a line more or less around a change.
    if (at < detail::log_threshold.load(std::memory_order_relaxed)) return;
    // One more, because there are no arrays of none.
    const detail::log_argument all[] = {detail::log_argument(arguments)..., detail::log_argument()};
    detail::log_line(at, format.text(), all, sizeof...(Args));
}

}  // namespace prefork

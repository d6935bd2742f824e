#pragma once

#include <cstddef>
#include <string_view>

#include "log/log_ring.hpp"
#include "prefork/log.hpp"

// Where a line goes: to the handler of this process, or, in a worker, into its log ring.

namespace prefork::logging {

/// A text of at most `longest_line` bytes in a place of its own: no allocation.
class line_buffer {
  public:
    /// What doesn't fit is cut; see text().
    void put(std::string_view text) noexcept;
    /// `format` with an argument for each {}.
    void format(std::string_view format, const detail::log_argument* arguments,
                std::size_t count) noexcept;
    /// If something was cut, it ends in "...", after a whole UTF-8 character.
    [[nodiscard]] std::string_view text() noexcept;

  private:
    void put(const detail::log_argument& argument) noexcept;

    char bytes_[longest_line];
    std::size_t size_ = 0;
    bool cut_ = false;
};

/// "info"
[[nodiscard]] std::string_view name_of(level which) noexcept;

/// In a worker, once, before its hooks: from now on lines go into `ring`.
void become_worker(log_ring& ring, int wake_fd);

/// In a worker: the label of the task that runs, empty for none; seen until it is set again.
void set_label(std::string_view label) noexcept;

/// A line of the library itself, whatever the level set by the user is.
void say(level at, std::string_view text) noexcept;

/// Calls the handler of this process; in the host.
void deliver(const log_record& record) noexcept;

}  // namespace prefork::logging

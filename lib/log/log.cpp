#include "log/log.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

namespace prefork {

std::atomic<level> detail::log_threshold{level::info};

namespace logging {
namespace {

using detail::log_argument;

// ---- one per process

// The lock is held for the copy of a pointer, and by the host only: in a worker it may have been
// somebody's at the fork.
std::mutex handler_mutex;
std::shared_ptr<const log_handler> the_handler;
thread_local bool in_handler = false;

// Of this worker; nullptr in the host. Never destroyed: a line may come from an exit handler.
log_writer* own_writer = nullptr;
alignas(log_writer) unsigned char own_writer_bytes[sizeof(log_writer)];

std::shared_ptr<const log_handler> current_handler() {
    const std::lock_guard held{handler_mutex};
    return the_handler;
}

// ---- the default handler

void write_to_standard_error(const log_record& record) noexcept {
    char line[longest_line + 200];
    char* end = line;
    const auto put = [&](std::string_view text) {
        end += text.copy(end, static_cast<std::size_t>(line + sizeof line - 1 - end));
    };
    put("prefork: [");
    put(name_of(record.level));
    put("] ");
    if (!record.pool.empty()) put(record.pool.substr(0, 100));
    if (record.worker) {
        char number[16];
        const auto written = std::to_chars(number, number + sizeof number, *record.worker);
        put("/");
        put({number, static_cast<std::size_t>(written.ptr - number)});
    }
    if (!record.pool.empty() || record.worker) put(": ");
    put(record.text);
    // One record is one line, and a worker gone wild doesn't steer the terminal.
    std::replace_if(
        line, end,
        [](char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 127; }, ' ');
    *end++ = '\n';
    static_cast<void>(!::write(STDERR_FILENO, line, static_cast<std::size_t>(end - line)));
}

void pass_on(level at, std::string_view text) noexcept {
    const auto now = std::chrono::system_clock::now();
    if (own_writer != nullptr && own_writer->is_here()) {
        static_cast<void>(own_writer->write(at, now, text));
        return;
    }
    const log_record record{at, text, ::getpid(), {}, std::nullopt, now, {}};
    // A process that a task forked: its host's handler is a copy whose files are closed.
    if (own_writer != nullptr) return write_to_standard_error(record);
    deliver(record);
}

}  // namespace

void become_worker(log_ring& ring, int wake_fd) {
    own_writer = new (own_writer_bytes) log_writer{ring, wake_fd};
}

void set_label(std::string_view label) noexcept {
    if (own_writer != nullptr) own_writer->set_label(label);
}

void say(level at, std::string_view text) noexcept {
    line_buffer line;
    line.put(text);
    pass_on(at, line.text());
}

void deliver(const log_record& record) noexcept {
    if (std::exchange(in_handler, true)) return write_to_standard_error(record);
    try {
        const auto handler = current_handler();
        if (handler != nullptr) {
            (*handler)(record);
        } else {
            write_to_standard_error(record);
        }
    } catch (...) {
        // A line isn't worth a task, nor the host.
    }
    in_handler = false;
}

std::string_view name_of(level which) noexcept {
    constexpr std::string_view names[] = {"debug", "info", "warning", "error"};
    const auto index = static_cast<std::size_t>(which);
    return index < std::size(names) ? names[index] : "?";
}

// ---- formatting

void line_buffer::put(std::string_view text) noexcept {
    const std::size_t taken = text.copy(bytes_ + size_, cut_ ? 0 : longest_line - size_);
    size_ += taken;
    cut_ |= taken < text.size();
}

std::string_view line_buffer::text() noexcept {
    if (cut_) {
        constexpr std::string_view dots = "...";
        size_ = std::min(size_, longest_line - dots.size());
        // Not in the middle of a character: those bytes are 10xxxxxx.
        std::size_t end = size_;
        while (end > 0 && size_ - end < 4 && (bytes_[end] & 0xc0) == 0x80) --end;
        size_ = end + dots.copy(bytes_ + end, dots.size());
        cut_ = false;
    }
    return {bytes_, size_};
}

void line_buffer::put(const log_argument& argument) noexcept {
    // Enough: to_chars takes the shorter of 1e+300 and its digits.
    char digits[64];
    char* const end = digits + sizeof digits;
    std::to_chars_result written{digits, {}};
    switch (argument.what()) {
        case log_argument::kind::nothing:
            return;
        case log_argument::kind::text:
            return put(argument.text());
        case log_argument::kind::boolean:
            return put(argument.number() != 0 ? std::string_view("true")
                                              : std::string_view("false"));
        case log_argument::kind::character:
            digits[0] = static_cast<char>(argument.number());
            written.ptr = digits + 1;
            break;
        case log_argument::kind::negative:
            written = std::to_chars(digits, end, static_cast<std::int64_t>(argument.number()));
            break;
        case log_argument::kind::number:
            written = std::to_chars(digits, end, argument.number());
            break;
        case log_argument::kind::single_float:
            written = std::to_chars(digits, end, argument.single_float());
            break;
        case log_argument::kind::double_float:
            written = std::to_chars(digits, end, argument.double_float());
            break;
        case log_argument::kind::long_float:
            written = std::to_chars(digits, end, argument.long_float());
            break;
        case log_argument::kind::pointer:
            put("0x");
            written = std::to_chars(digits, end, argument.number(), 16);
            break;
    }
    if (written.ec == std::errc{}) put({digits, static_cast<std::size_t>(written.ptr - digits)});
}

void line_buffer::format(std::string_view format, const log_argument* arguments,
                         std::size_t count) noexcept {
    std::size_t used = 0;
    while (!format.empty()) {
        const std::size_t special = std::min(format.find_first_of("{}"), format.size());
        put(format.substr(0, special));
        format.remove_prefix(special);
        // Of the two characters the compiler has seen to: {}, {{ or }}.
        if (format.size() < 2) return;
        if (format[1] != '}' || format[0] == '}') {
            put(format.substr(0, 1));
        } else if (used < count) {
            put(arguments[used++]);
        }
        format.remove_prefix(2);
    }
}

}  // namespace logging

// ---- what the header calls

log_handler set_log_handler(log_handler handler) {
    if (logging::own_writer != nullptr) return {};
    auto next = handler ? std::make_shared<const log_handler>(std::move(handler)) : nullptr;
    {
        const std::lock_guard held{logging::handler_mutex};
        logging::the_handler.swap(next);
    }
    return next != nullptr ? *next : log_handler{};
}

void set_log_level(level least) noexcept {
    detail::log_threshold.store(least, std::memory_order_relaxed);
}

void detail::log_line(level at, std::string_view format, const log_argument* arguments,
                      std::size_t count) noexcept {
    logging::line_buffer line;
    line.format(format, arguments, count);
    logging::pass_on(at, line.text());
}

}  // namespace prefork

#include "log/log_pump.hpp"

#include <algorithm>
#include <utility>

#include "log/log.hpp"

namespace prefork::logging {

void log_batch::deliver(std::string_view pool) const noexcept {
    for (const entry& each : entries_) {
        logging::deliver({each.line.level, each.line.text, each.pid, pool, each.worker,
                          each.line.time, each.line.label});
    }
}

log_pump::log_pump(log_ring* rings, unsigned seats) {
    for (unsigned seat = 0; seat < seats; ++seat) {
        seats_.push_back({log_reader{rings[seat]}, {}});
    }
}

void log_pump::reset(unsigned seat) noexcept {
    seats_[seat].reader.reset();
    seats_[seat].last.clear();
}

void log_pump::collect(unsigned seat, pid_t pid, unsigned index) {
    seat_books& books = seats_[seat];
    scratch_.clear();
    books.reader.take(scratch_);
    // A clock that is set back, or a wild time, doesn't change the order of a worker's own lines.
    auto order = std::chrono::system_clock::time_point::min();
    for (log_line& line : scratch_) {
        order = std::max(order, line.time);
        books.last.push_back(line);
        if (books.last.size() > longest_tail) books.last.pop_front();
        waiting_.entries_.push_back({std::move(line), order, pid, index});
    }
}

log_batch log_pump::take() {
    log_batch batch = std::exchange(waiting_, {});
    std::stable_sort(batch.entries_.begin(), batch.entries_.end(),
                     [](const auto& a, const auto& b) { return a.order < b.order; });
    return batch;
}

bool log_pump::fall_asleep(unsigned seat) noexcept { return seats_[seat].reader.fall_asleep(); }

std::string log_pump::tail(unsigned seat) const {
    std::string text;
    for (const log_line& line : seats_[seat].last) {
        if (!text.empty()) text += '\n';
        text += '[';
        text += name_of(line.level);
        text += "] ";
        text += line.text;
    }
    return text;
}

}  // namespace prefork::logging

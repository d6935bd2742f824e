#include "process/roster.hpp"

#include <algorithm>

namespace prefork::process {

roster::roster(unsigned workers, unsigned seats) : entries_(seats), next_start_(workers + 1) {
    next_start_.back().wanted = false;
    for (unsigned seat = 0; seat < seats; ++seat) entries_[seat].seat = seat;
}

unsigned roster::running() const noexcept {
    return static_cast<unsigned>(std::count_if(
        entries_.begin(), entries_.end(),
        [](const auto& each) { return each.phase == phase::running && !each.superseded; }));
}

std::optional<unsigned> roster::begin_start(unsigned index, base::time_point now) {
    const auto free = std::find_if(entries_.begin(), entries_.end(),
                                   [](const auto& each) { return each.phase == phase::free; });
    if (free == entries_.end()) return std::nullopt;
    const unsigned seat = free->seat;
    *free = worker_entry{};
    free->seat = seat;
    free->index = index;
    free->phase = phase::starting;
    free->since = now;
    next_start_[index].wanted = false;
    return seat;
}

std::optional<unsigned> roster::promote(unsigned index, base::time_point now) {
    if (index == workers()) return std::nullopt;
    for (worker_entry& each : entries_) {
        // With a pidfd: it has been forked, so it can be killed if it doesn't start in time.
        if (each.phase != phase::starting || !is_spare(each) || !each.pidfd) continue;
        if (each.superseded || each.orphaned) continue;
        each.index = index;
        each.since = now;
        next_start_[index].wanted = false;
        next_start_.back() = {.due = now};
        return each.seat;
    }
    return std::nullopt;
}

void roster::started(unsigned seat) {
    if (entries_[seat].phase != phase::starting) return;
    entries_[seat].phase = phase::running;
    failing_since_ = base::never;
}

void roster::ended(unsigned seat, base::time_point now, bool useful) {
    worker_entry& entry = entries_[seat];
    entry.pidfd.reset();
    entry.kill_at = base::never;
    if (entry.superseded) {
        entry.phase = phase::pinned;
        return;
    }
    if (entry.phase == phase::starting && !is_spare(entry)) {
        failing_since_ = std::min(failing_since_, now);
    }
    start_state& next = next_start_[entry.index];
    next.wanted = true;
    // Killing it was our decision, so its early end says nothing about the next one either.
    const bool suspicious = !useful && entry.killed_by == killer::none && now - entry.since < young;
    next.young_deaths = suspicious ? next.young_deaths + 1 : 0;
    // The first replacement comes at once: one crash is what this library is for.
    const unsigned doublings = next.young_deaths < 2 ? 0 : std::min(next.young_deaths - 2, 16u);
    const auto delay =
        next.young_deaths < 2
            ? std::chrono::milliseconds(0)
            : std::min(std::chrono::milliseconds(10) * (1 << doublings), longest_delay);
    next.due = now + delay;
    entry.phase = phase::pinned;
}

bool roster::replaces_in_time(base::time_point now) const {
    if (failing_since_ != base::never) return false;
    for (unsigned index = 0; index < workers(); ++index) {
        if (next_start_[index].young_deaths < 2) continue;
        const bool grew_up =
            std::any_of(entries_.begin(), entries_.end(), [&](const worker_entry& each) {
                return each.index == index && each.phase == phase::running &&
                       now - each.since >= young;
            });
        if (!grew_up) return false;
    }
    return true;
}

void roster::vacate(unsigned seat) { entries_[seat].phase = phase::free; }

std::vector<unsigned> roster::due(base::time_point now) const {
    std::vector<unsigned> indexes;
    for (unsigned index = 0; index < next_start_.size(); ++index) {
        if (next_start_[index].wanted && next_start_[index].due <= now) indexes.push_back(index);
    }
    return indexes;
}

base::time_point roster::next_due() const {
    base::time_point next = base::never;
    // Without a free seat the next start is due when one is vacated.
    if (std::none_of(entries_.begin(), entries_.end(),
                     [](const auto& each) { return each.phase == phase::free; })) {
        return next;
    }
    for (const start_state& each : next_start_) {
        if (each.wanted) next = std::min(next, each.due);
    }
    return next;
}

}  // namespace prefork::process

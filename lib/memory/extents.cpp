#include "memory/extents.hpp"

#include <algorithm>
#include <iterator>

namespace prefork::memory {

std::optional<extent> extents::take(std::uint64_t size) {
    const auto fit = by_size_.lower_bound({size, 0});
    if (fit == by_size_.end() || size == 0) return std::nullopt;
    const extent whole{fit->second, fit->first};
    remove(by_place_.find(whole.from));
    if (whole.size > size) add({whole.from + size, whole.size - size});
    return extent{whole.from, size};
}

std::optional<extent> extents::take_largest(std::uint64_t size) {
    if (by_size_.empty() || size == 0) return std::nullopt;
    const extent whole{by_size_.rbegin()->second, by_size_.rbegin()->first};
    const std::uint64_t taken = std::min(size, whole.size);
    remove(by_place_.find(whole.from));
    if (whole.size > taken) add({whole.from, whole.size - taken});
    return extent{whole.from + whole.size - taken, taken};
}

void extents::put(extent free) {
    if (free.size == 0) return;
    const auto after = by_place_.lower_bound(free.from);
    if (after != by_place_.begin()) {
        const auto before = std::prev(after);
        if (before->first + before->second == free.from) {
            free = {before->first, before->second + free.size};
            remove(before);
        }
    }
    if (after != by_place_.end() && free.from + free.size == after->first) {
        free.size += after->second;
        remove(after);
    }
    add(free);
}

void extents::add(extent free) {
    by_place_.emplace(free.from, free.size);
    by_size_.emplace(free.size, free.from);
    total_ += free.size;
}

void extents::remove(places::iterator at) {
    by_size_.erase({at->second, at->first});
    total_ -= at->second;
    by_place_.erase(at);
}

}  // namespace prefork::memory

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace prefork::memory {

struct extent {
    std::uint64_t from = 0;
    std::uint64_t size = 0;
};

/// A set of free ranges of numbers: neighbours are one, and the tightest that fits is given first,
/// the lowest of several. It knows nothing of what the numbers mean (arena.hpp: addresses, with
/// pages and without). Each operation takes O(log n), n being the ranges.
class extents {
  public:
    /// The first `size` of the smallest range that has as many; the rest of it stays.
    [[nodiscard]] std::optional<extent> take(std::uint64_t size);
    /// At most `size` from the end of the largest range; nothing when the set is empty.
    [[nodiscard]] std::optional<extent> take_largest(std::uint64_t size);
    /// `free` must not overlap what is in the set; an empty range changes nothing.
    void put(extent free);

    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
    /// Of one range.
    [[nodiscard]] std::uint64_t largest() const noexcept {
        return by_size_.empty() ? 0 : by_size_.rbegin()->first;
    }
    [[nodiscard]] std::size_t count() const noexcept { return by_place_.size(); }

  private:
    using places = std::map<std::uint64_t, std::uint64_t>;  // from → size

    void add(extent free);
    void remove(places::iterator at);

    places by_place_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;  // size, from
    std::uint64_t total_ = 0;
};

}  // namespace prefork::memory

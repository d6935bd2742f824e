#include "memory/arena.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "memory/page.hpp"

namespace prefork::memory {
namespace {

// A cache line, so that no two blocks share one.
constexpr std::uint64_t unit = 64;
constexpr std::uint64_t largest_small = std::uint64_t{32} << 10;
constexpr std::uint64_t slab_bytes = std::uint64_t{256} << 10;
// What a slab secures at a time: few system calls, and a lone block of its size costs no more.
constexpr std::uint64_t slab_step = std::uint64_t{64} << 10;
static_assert(slab_step % largest_small == 0 && slab_bytes % slab_step == 0);

// Sizes in units: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, … 512: at most a quarter is wasted.
constexpr unsigned class_of(std::uint64_t size) {
    const std::uint64_t last = (size - 1) / unit;
    if (last < 4) return static_cast<unsigned>(last);
    const auto shift = static_cast<unsigned>(std::bit_width(last)) - 3;
    return shift * 4 + static_cast<unsigned>(last >> shift);
}

constexpr std::uint64_t bytes_of_class(unsigned size_class) {
    if (size_class < 4) return (size_class + 1) * unit;
    const unsigned shift = size_class / 4 - 1;
    return ((std::uint64_t{size_class} % 4 + 5) << shift) * unit;
}
static_assert(class_of(largest_small) == 31 && bytes_of_class(31) == largest_small);
static_assert(class_of(8 * unit) == 7 && class_of(8 * unit + 1) == 8);
static_assert(bytes_of_class(7) == 8 * unit && bytes_of_class(8) == 10 * unit);

}  // namespace

/// Memory cut into places of one size: [0, carved) were handed out once, [0, secured) have pages.
struct slab {
    std::uint64_t from = 0;
    std::uint64_t secured = 0;
    std::uint64_t place_bytes = 0;
    unsigned size_class = 0;
    unsigned places = 0;
    unsigned carved = 0;
    unsigned used = 0;
    std::size_t at_open = not_open;  ///< its index among the open slabs of its size
    std::vector<std::uint16_t> free;

    static constexpr std::size_t not_open = ~std::size_t{0};
    static_assert(slab_bytes / unit <= 1 << 16);
};

arena::arena(std::span<std::byte> part, page_source& pages, std::uint64_t limit)
    : part_(part),
      pages_(&pages),
      step_(std::clamp(std::bit_floor(limit / 64), page_bytes(), slab_step)) {
    cold_.put({0, align_down(part.size(), page_bytes())});
}

arena::~arena() = default;

std::span<std::byte> arena::bytes_of(extent range) const noexcept {
    return part_.subspan(static_cast<std::size_t>(range.from),
                         static_cast<std::size_t>(range.size));
}

block arena::allocate(std::uint64_t size) {
    if (size > part_.size()) {
        error_ = ENOSPC;
        return {};
    }
    size = std::max<std::uint64_t>(size, 1);
    block made = try_allocate(size);
    if (!made) {
        trim(0);
        made = try_allocate(size);
    }
    used_ += made ? 1 : 0;
    return made;
}

block arena::try_allocate(std::uint64_t size) {
    if (size <= largest_small) {
        if (const block made = allocate_small(class_of(size))) return made;
        // There may be room for it yet, if not for a slab.
    }
    return allocate_pages(align_up(size, page_bytes()));
}

void arena::release(const block& used) {
    --used_;
    if (used.home != nullptr) return release_small(used);
    warm_.put({static_cast<std::uint64_t>(used.data - part_.data()), used.size});
}

// ---- whole pages

bool arena::secure(extent range) {
    error_ = pages_->secure(bytes_of(range));
    if (error_ == 0) secured_ += range.size;
    return error_ == 0;
}

block arena::allocate_pages(std::uint64_t size) {
    auto range = warm_.take(size);
    if (!range) {
        range = cold_.take(size);
        if (!range) {
            error_ = ENOSPC;
            return {};
        }
        if (!secure(*range)) {
            cold_.put(*range);
            return {};
        }
    }
    return {part_.data() + range->from, range->size, nullptr};
}

void arena::trim(std::uint64_t keep) {
    for (auto& open : open_) {
        for (std::size_t i = open.size(); i-- > 0;) {
            if (open[i]->used == 0) dissolve(*open[i]);
        }
    }
    keep = align_down(keep, page_bytes());
    while (warm_.total() > keep) {
        const auto given = warm_.take_largest(warm_.total() - keep);
        pages_->release(bytes_of(*given));
        secured_ -= given->size;
        cold_.put(*given);
    }
}

// ---- places in slabs

block arena::allocate_small(unsigned size_class) {
    slab* const from = slab_with_room(size_class);
    if (from == nullptr) return {};
    const std::uint16_t place = from->free.back();
    from->free.pop_back();
    ++from->used;
    if (from->free.empty() && from->carved == from->places) close(*from);
    return {part_.data() + from->from + place * from->place_bytes, from->place_bytes, from};
}

slab* arena::slab_with_room(unsigned size_class) {
    const auto& open = open_[size_class];
    // At most one, the first, was never full; any other has a free place.
    slab* const from = open.empty() ? make_slab(size_class) : open.back();
    if (from == nullptr || !from->free.empty() || carve(*from)) return from;
    if (from->used == 0) dissolve(*from);
    return nullptr;
}

slab* arena::make_slab(unsigned size_class) {
    auto range = warm_.take(slab_bytes);
    const std::uint64_t secured = range ? slab_bytes : 0;
    if (!range) range = cold_.take(slab_bytes);
    if (!range) {
        error_ = ENOSPC;
        return nullptr;
    }
    if (unused_slabs_.empty()) {
        slabs_.push_back(std::make_unique<slab>());
        unused_slabs_.push_back(slabs_.back().get());
    }
    slab* const made = unused_slabs_.back();
    unused_slabs_.pop_back();
    made->from = range->from;
    made->secured = secured;
    made->place_bytes = bytes_of_class(size_class);
    made->size_class = size_class;
    made->places = static_cast<unsigned>(slab_bytes / made->place_bytes);
    made->carved = made->used = 0;
    made->free.clear();
    made->at_open = open_[size_class].size();
    open_[size_class].push_back(made);
    return made;
}

bool arena::carve(slab& from) {
    const std::uint64_t end = (from.carved + 1) * from.place_bytes;
    if (end > from.secured) {
        const std::uint64_t more = align_up(end - from.secured, step_);
        if (!secure({from.from + from.secured, more})) return false;
        from.secured += more;
    }
    from.free.push_back(static_cast<std::uint16_t>(from.carved++));
    return true;
}

void arena::release_small(const block& used) {
    slab& home = *used.home;
    auto& open = open_[home.size_class];
    if (home.at_open == slab::not_open) {
        home.at_open = open.size();
        open.push_back(&home);
    }
    const auto at = static_cast<std::uint64_t>(used.data - part_.data()) - home.from;
    home.free.push_back(static_cast<std::uint16_t>(at / home.place_bytes));
    // One empty slab a size is kept, so that a lone task doesn't cut one each time.
    if (--home.used == 0 && open.size() > 1) dissolve(home);
}

void arena::close(slab& of) {
    auto& open = open_[of.size_class];
    open[of.at_open] = open.back();
    open[of.at_open]->at_open = of.at_open;
    open.pop_back();
    of.at_open = slab::not_open;
}

void arena::dissolve(slab& of) {
    close(of);
    warm_.put({of.from, of.secured});
    cold_.put({of.from + of.secured, slab_bytes - of.secured});
    unused_slabs_.push_back(&of);
}

}  // namespace prefork::memory

#include "memory/arena.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>

namespace prefork::memory {
namespace {

constexpr unsigned smallest_class = 6;  // 64 bytes: a cache line, so that no two blocks share one
constexpr unsigned largest_small_class = 14;  // 16 KiB
constexpr unsigned slab_class = 18;           // 256 KiB
constexpr std::uint64_t page = 4096;

constexpr std::uint64_t bytes_of(unsigned size_class) { return std::uint64_t{1} << size_class; }
constexpr std::uint64_t whole_pages(std::uint64_t bytes) {
    return (bytes + page - 1) / page * page;
}

unsigned class_of(std::uint64_t size) {
    return std::max(smallest_class, static_cast<unsigned>(std::bit_width(size - 1)));
}

}  // namespace

/// 256 KiB cut into places of one size.
struct slab {
    block memory;
    std::vector<std::byte*> free_places;
    std::uint32_t places = 0;
    std::uint32_t size_class = 0;
};

arena::arena(std::span<std::byte> part, page_source& pages) : part_(part), pages_(&pages) {}

arena::~arena() = default;

block arena::allocate(std::uint64_t size) {
    if (size == 0) size = 1;
    if (size > part_.size()) {
        error_ = ENOSPC;
        return {};
    }
    const unsigned size_class = class_of(size);
    const bool small = size_class <= largest_small_class;
    block made = small ? allocate_small(size_class) : allocate_large(size_class, size);
    if (!made && free_secured_ > 0) {
        trim(0);
        made = small ? allocate_small(size_class) : allocate_large(size_class, size);
    }
    used_ += made ? 1 : 0;
    return made;
}

void arena::release(const block& used) {
    --used_;
    if (used.home != nullptr) {
        release_small(used);
    } else {
        release_large(used);
    }
}

bool arena::secure(block& of, std::uint64_t size) {
    const std::uint64_t wanted = whole_pages(size);
    if (wanted <= of.secured) return true;
    error_ = pages_->secure({of.data + of.secured, static_cast<std::size_t>(wanted - of.secured)});
    if (error_ != 0) return false;
    secured_ += wanted - of.secured;
    of.secured = wanted;
    return true;
}

block arena::allocate_large(unsigned size_class, std::uint64_t size) {
    auto& list = free_[size_class];
    block made;
    if (!list.empty()) {
        made = list.back();
        list.pop_back();
        free_secured_ -= made.secured;
    } else {
        const std::uint64_t bytes = bytes_of(size_class);
        if (part_.size() - next_ < bytes) {
            error_ = ENOSPC;
            return {};
        }
        made.data = part_.data() + next_;
        made.size_class = size_class;
        next_ += bytes;
    }
    if (secure(made, size)) return made;
    release_large(made);
    return {};
}

void arena::release_large(const block& used) {
    free_secured_ += used.secured;
    free_[used.size_class].push_back(used);
}

block arena::allocate_small(unsigned size_class) {
    auto& open = open_slabs_[size_class];
    if (open.empty()) {
        const block memory = allocate_large(slab_class, bytes_of(slab_class));
        if (!memory) return {};
        if (unused_slabs_.empty()) {
            slabs_.push_back(std::make_unique<slab>());
            unused_slabs_.push_back(slabs_.back().get());
        }
        slab* const made = unused_slabs_.back();
        unused_slabs_.pop_back();
        made->memory = memory;
        made->size_class = size_class;
        made->places = static_cast<std::uint32_t>(bytes_of(slab_class - size_class));
        made->free_places.clear();
        for (std::uint32_t i = made->places; i-- > 0;) {
            made->free_places.push_back(memory.data + i * bytes_of(size_class));
        }
        open.push_back(made);
    }
    slab* const from = open.back();
    std::byte* const place = from->free_places.back();
    from->free_places.pop_back();
    if (from->free_places.empty()) open.pop_back();
    return {place, bytes_of(size_class), from, size_class};
}

void arena::release_small(const block& used) {
    slab* const home = used.home;
    auto& open = open_slabs_[used.size_class];
    if (home->free_places.empty()) open.push_back(home);
    home->free_places.push_back(used.data);
    // One empty slab a size is kept, so that a lone task doesn't cut one each time.
    if (home->free_places.size() == home->places && open.size() > 1) {
        open.erase(std::find(open.begin(), open.end(), home));
        release_large(home->memory);
        unused_slabs_.push_back(home);
    }
}

void arena::trim(std::uint64_t keep) {
    for (unsigned size_class = classes; size_class-- > 0 && free_secured_ > keep;) {
        for (block& each : free_[size_class]) {
            if (free_secured_ <= keep) break;
            if (each.secured == 0) continue;
            pages_->release({each.data, static_cast<std::size_t>(each.secured)});
            secured_ -= each.secured;
            free_secured_ -= each.secured;
            each.secured = 0;
        }
    }
}

}  // namespace prefork::memory

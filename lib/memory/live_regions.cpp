#include "memory/live_regions.hpp"

#include <sys/mman.h>

#include <new>
#include <vector>

#include "base/fail_point.hpp"

namespace prefork::memory {
namespace {

struct registry {
    std::mutex mutex;
    std::vector<live_region> regions;
};

// Never destroyed, for pools may be static objects; in no memory of its own, for this library may
// be closed.
registry& here() {
    alignas(registry) static unsigned char storage[sizeof(registry)];
    static auto* const all = new (storage) registry;
    return *all;
}

void cover(std::byte* from, std::size_t size, int access) noexcept {
    // Failure only means that the memory stays until this process ends.
    if (base::fail_point::refused("memory.cover_mmap")) return;
    static_cast<void>(
        ::mmap(from, size, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));
    ::madvise(from, size, MADV_DONTDUMP);
}

}  // namespace

void enter_region(const live_region& one) {
    const std::lock_guard held{here().mutex};
    here().regions.push_back(one);
}

void leave_region(std::byte* base) noexcept {
    const std::lock_guard held{here().mutex};
    std::erase_if(here().regions, [base](const live_region& each) {
        if (each.all.data() != base) return false;
        ::munmap(base, each.all.size());
        return true;
    });
    if (here().regions.empty())
        std::vector<live_region>{}.swap(here().regions);  // nothing of it outlives the last region
}

regions_held::regions_held() : lock_(here().mutex) {}

void regions_held::let_go_of_others(const std::byte* keep) const noexcept {
    for (const live_region& each : here().regions) {
        if (each.all.data() == keep) continue;
        cover(each.all.data(), each.words, PROT_READ | PROT_WRITE);
        cover(each.all.data() + each.words, each.all.size() - each.words, PROT_NONE);
    }
}

}  // namespace prefork::memory

#include "memory/result_arena.hpp"

#include <algorithm>
#include <cerrno>
#include <new>

#include "memory/region.hpp"

namespace prefork::memory {

std::byte* result_arena::allocate(std::uint64_t size) {
    if (size > ~std::uint64_t{0} - sizeof(result_header)) return nullptr;
    sweep(4);
    block made = arena_.allocate(size + sizeof(result_header));
    if (!made) {
        sweep(lent_.size());
        made = arena_.allocate(size + sizeof(result_header));
    }
    if (!made) return nullptr;
    auto* const header = new (made.data) result_header{};
    header->size = size;
    lent_.push_back(made);
    return made.data + sizeof(result_header);
}

void result_arena::withdraw(std::byte* payload) {
    const auto lent = std::find_if(lent_.begin(), lent_.end(), [&](const block& each) {
        return each.data + sizeof(result_header) == payload;
    });
    if (lent == lent_.end()) return;
    arena_.release(*lent);
    lent_.erase(lent);
}

void result_arena::sweep(std::size_t count) {
    // Round and round, a few at a time: thousands of results may be out that nobody has fetched
    // yet.
    for (count = std::min(count, lent_.size()); count > 0 && !lent_.empty(); --count) {
        if (next_to_sweep_ >= lent_.size()) next_to_sweep_ = 0;
        block& each = lent_[next_to_sweep_];
        const auto& header = *reinterpret_cast<const result_header*>(each.data);
        // Acquire: the host's last read of the payload comes before our next write to it.
        if (header.released.load(std::memory_order_acquire) == 0) {
            ++next_to_sweep_;
            continue;
        }
        arena_.release(each);
        each = lent_.back();
        lent_.pop_back();
    }
}

void result_arena::trim(std::uint64_t keep) {
    sweep(lent_.size());
    arena_.trim(keep);
}

int result_arena::secure(std::span<std::byte> bytes) {
    if (!budget_->take(writer_, bytes.size())) return EDQUOT;
    const int error = region::secure_in_worker(bytes);
    if (error != 0) budget_->give_back(writer_, bytes.size());
    return error;
}

void result_arena::release(std::span<std::byte> bytes) {
    region::release_in_worker(bytes);
    budget_->give_back(writer_, bytes.size());
}

std::optional<std::span<std::byte>> checked_result(std::span<std::byte> part,
                                                   std::uint64_t offset_in_part,
                                                   std::uint64_t size) noexcept {
    if (offset_in_part < sizeof(result_header) || offset_in_part % 64 != 0) return std::nullopt;
    if (offset_in_part > part.size() || size > part.size() - offset_in_part) return std::nullopt;
    return part.subspan(static_cast<std::size_t>(offset_in_part), static_cast<std::size_t>(size));
}

void release_result(std::byte* payload) noexcept {
    // Release: our reads of the payload are over.
    reinterpret_cast<result_header*>(payload - sizeof(result_header))
        ->released.store(1, std::memory_order_release);
}

}  // namespace prefork::memory

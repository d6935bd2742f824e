#include "memory/result_arena.hpp"

#include <algorithm>
#include <cerrno>
#include <new>

#include "memory/offset.hpp"
#include "memory/region.hpp"

namespace prefork::memory {
namespace {

// Blocks looked at in each allocation: more than the one that it lends, so that the released ones
// never pile up, and few enough not to be felt where thousands of results wait to be fetched.
constexpr std::size_t sweep_step = 4;

result_header& header_of(std::byte* payload) noexcept {
    return *reinterpret_cast<result_header*>(payload - sizeof(result_header));
}

}  // namespace

std::byte* result_arena::allocate(std::uint64_t size) {
    // More than any part, and no overflow where the header is added.
    size = std::min(size, ~std::uint64_t{0} - sizeof(result_header));
    sweep(sweep_step);
    if (std::byte* const payload = lend(size)) return payload;
    sweep(lent_.size());
    return lend(size);
}

std::byte* result_arena::lend(std::uint64_t size) {
    const block made = arena_.allocate(size + sizeof(result_header));
    if (!made) return nullptr;
    auto* const header = new (made.data) result_header{};
    // Relaxed: the commit of the task publishes it.
    header->size.store(size, std::memory_order_relaxed);
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
    if (const int refused = budget_->take_pages(writer_, bytes.size()); refused != 0)
        return refused;
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
    const auto payload = offset{offset_in_part, size}.within(part, alignof(result_header));
    if (!payload || offset_in_part < sizeof(result_header)) return std::nullopt;
    // Relaxed, and once: whatever it says, the payload lies inside of the part. It keeps one stray
    // write, to the slot, from making us read gigabytes that nobody has written.
    if (size > header_of(payload->data()).size.load(std::memory_order_relaxed)) return std::nullopt;
    return payload;
}

void release_result(std::byte* payload) noexcept {
    // Release: our reads of the payload are over.
    header_of(payload).released.store(1, std::memory_order_release);
}

}  // namespace prefork::memory

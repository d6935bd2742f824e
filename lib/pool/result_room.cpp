#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/futex.hpp"
#include "pool/core.hpp"

// A worker has no room for a result. What the host can do: let go of pages that nobody uses, and of
// results that wait for their caller, by copying them into private memory. As many bytes of that as
// the budget has, at most: two tasks whose results are fetched in the other order than they fit
// must not wait for each other, and memory must stay bounded.

namespace prefork::detail {

void pool_core::make_room_for_results() {
    if (control_->flags().room_asked.exchange(0, std::memory_order_acq_rel) == 0) return;
    bury();
    harvest_all();
    arguments_->trim(0);
    std::uint64_t copied = 0;
    for (const auto& [position, each] : harvested_) copied += each.is_private() ? each.size_ : 0;
    for (auto& [position, each] : harvested_) {
        if (each.block_ == nullptr || each.is_private() || each.names_arrays_) continue;
        if (each.size_ > budget_->limit() - std::min(budget_->limit(), copied)) continue;
        if (!budget_->has_private_room(each.size_)) break;
        auto* const copy = static_cast<std::byte*>(
            ::operator new[](each.size_, std::align_val_t{payload_alignment}, std::nothrow));
        if (copy == nullptr) break;
        std::memcpy(copy, each.block_, each.size_);
        release_result(std::exchange(each.block_, copy), each.seat_);
        each.seat_ = outcome::no_seat;
        copied += each.size_;
    }
    ring_->shared().room_made.fetch_add(1, std::memory_order_seq_cst);
    base::futex_wake(&ring_->shared().room_made, base::every_waiter);
}

}  // namespace prefork::detail

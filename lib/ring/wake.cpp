#include "ring/wake.hpp"

#include <bit>

#include "base/fail_point.hpp"
#include "base/futex.hpp"

namespace prefork::ring {

bool sleepers::any() const noexcept {
    for (unsigned i = 0; i < words_; ++i) {
        // seq_cst: the second step of the host's half of Dekker's argument, see wake.hpp.
        if (shared_->idle[i].load(std::memory_order_seq_cst) != 0) return true;
    }
    return false;
}

unsigned sleepers::wake(unsigned count) noexcept {
    unsigned woken = 0;
    for (unsigned i = 0; i < words_; ++i) {
        // model: wake.look
        std::uint64_t bits = shared_->idle[i].load(std::memory_order_seq_cst);
        while (bits != 0 && woken < count) {
            const auto bit = static_cast<unsigned>(std::countr_zero(bits));
            const std::uint64_t mask = std::uint64_t{1} << bit;
            bits &= ~mask;
            // Whoever clears the bit does the waking: two wakers never spend two calls on one bed.
            // model: wake.clear_bit
            if ((shared_->idle[i].fetch_and(~mask, std::memory_order_seq_cst) & mask) == 0)
                continue;
            if (i * 64 + bit >= beds_.size()) continue;
            base::fail_point::pass("wake.bit_cleared");
            wake_seat(i * 64 + bit);
            ++woken;
        }
    }
    return woken;
}

void sleepers::wake_seat(unsigned seat) noexcept {
    // model: wake.bump
    beds_[seat].wakes.fetch_add(1, std::memory_order_seq_cst);
    base::fail_point::pass("wake.before_call");
    // model: wake.call
    base::futex_wake(&beds_[seat].wakes, 1);
}

void sleepers::wake_all() noexcept {
    for (unsigned seat = 0; seat < beds_.size(); ++seat) wake_seat(seat);
}

std::uint32_t sleepers::lie_down(unsigned seat) noexcept {
    // model: sleep.read_bed
    const std::uint32_t seen = beds_[seat].wakes.load(std::memory_order_seq_cst);
    // seq_cst: the first step of the worker's half of Dekker's argument, see wake.hpp.
    // model: sleep.idle
    shared_->idle[seat / 64].fetch_or(std::uint64_t{1} << (seat % 64), std::memory_order_seq_cst);
    base::fail_point::pass("sleep.bit_set");
    return seen;
}

void sleepers::wait(unsigned seat, std::uint32_t seen, base::time_point deadline) noexcept {
    // model: sleep.wait
    base::futex_wait(&beds_[seat].wakes, seen, deadline);
}

// model: sleep.get_up
void sleepers::get_up(unsigned seat) noexcept {
    base::fail_point::pass("sleep.before_bit_cleared");
    forget(seat);
}

void sleepers::forget(unsigned seat) noexcept {
    const std::uint64_t mask = std::uint64_t{1} << (seat % 64);
    // The load first: a waker has mostly cleared the bit already, and a write would move the line.
    if ((shared_->idle[seat / 64].load(std::memory_order_relaxed) & mask) != 0) {
        shared_->idle[seat / 64].fetch_and(~mask, std::memory_order_seq_cst);
    }
}

}  // namespace prefork::ring

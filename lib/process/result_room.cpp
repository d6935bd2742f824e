#include <unistd.h>

#include <algorithm>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "process/worker_loop.hpp"

// A result for which the budget has no room: it waits, while others give back what they don't use
// and the host fetches, or moves into its own memory, what has ended.

namespace prefork::process {
namespace {

// Room is looked for this often: a result that the host lets go of wakes nobody.
constexpr std::chrono::milliseconds look_interval{5};
// After a wait in vain, so that tasks whose results nobody fetches don't each take that long.
constexpr std::chrono::milliseconds second_wait{20};

}  // namespace

std::byte* worker_loop::allocate_result(std::uint64_t size) {
    std::byte* made = results_.allocate(size);
    if (made != nullptr || size > allowed_->limit() - sizeof(memory::result_header)) return made;
    const base::nanoseconds patience =
        waited_in_vain_ ? std::min<base::nanoseconds>(second_wait, options_.room_wait)
                        : options_.room_wait;
    const base::time_point end = base::deadline_after(base::monotonic::now(), patience);
    ring::hints& shared = control_.hints();
    do {
        const std::uint32_t seen = shared.room_made.load(std::memory_order_seq_cst);
        ask_for_room();
        base::futex_wait(&shared.room_made, seen,
                         std::min(end, base::monotonic::now() + look_interval));
        made = results_.allocate(size);
    } while (made == nullptr && base::monotonic::now() < end);
    waited_in_vain_ = made == nullptr;
    return made;
}

void worker_loop::ask_for_room() noexcept {
    process::switches& flags = control_.flags();
    // Ours have gone back already.
    note_trimmed(flags.trims.fetch_add(1, std::memory_order_seq_cst) + 1);
    ring_->beds().wake_all();
    base::fail_point::pass("worker.before_room_asked");
    flags.room_asked.store(1, std::memory_order_seq_cst);
    const std::uint64_t one = 1;
    static_cast<void>(!::write(options_.wake_fd, &one, sizeof one));
}

}  // namespace prefork::process

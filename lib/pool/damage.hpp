#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "pool/task_record.hpp"
#include "ring/slot_word.hpp"

// What a worker gone wild has written over. Everything that workers share with the host can be
// written by all of them, out of their wits or on purpose; so the host believes none of it, and
// what it knows better, from its own books, it puts right: twice a second, from when somebody waits
// long for a task, or has fetched some, until none is left in the ring, and at each death. (Neither
// a submission nor a task now and then begins the looks: they must not cost a system call.)

namespace prefork::detail {

/// The word is one of the run of this task that is in the ring now.
[[nodiscard]] inline bool is_of(const task_record& record, ring::slot_word word) noexcept {
    return ring::same_attempt(word, ring::slot_word::ready(record.position, record.attempt));
}

/// What a worker in `seat` can have written of itself as the run that it is in, or has left.
[[nodiscard]] inline bool may_run(ring::slot_word noted, unsigned seat) noexcept {
    return noted.bits() == 0 ||
           (noted.owner() == seat + 1 &&
            (noted.state() == ring::state::claimed || noted.state() == ring::state::lost));
}

/// Of one pool, guarded by its mutex.
struct damage_books {
    static constexpr std::chrono::milliseconds interval{500};

    /// By who waits long for a task; true when the monitor has to be woken for it.
    [[nodiscard]] bool begin_looks() noexcept {
        if (next_look != base::never) return false;
        fetched = 0;
        next_look = base::monotonic::now() + interval;
        looking.store(true, std::memory_order_relaxed);
        return true;
    }
    /// By who fetches a result; true as above.
    [[nodiscard]] bool note_fetched() noexcept {
        constexpr unsigned some = 64;
        return next_look == base::never && ++fetched == some && begin_looks();
    }
    void end_looks() noexcept {
        next_look = base::never;
        looking.store(false, std::memory_order_relaxed);
    }

    std::atomic<bool> looking{false};          ///< as next_look says, without the mutex: a hint
    base::time_point next_look = base::never;  ///< never: nobody waits, and nothing runs
    unsigned fetched = 0;                      ///< results, while nobody looked
    std::uint64_t found = 0;                   ///< words, since the pool was made
    std::string last;                          ///< of them
    std::vector<std::string> lines;            ///< yet to be logged
    std::uint64_t unsaid = 0;                  ///< beyond what is worth a line each
    bool fresh = false;                        ///< something was found since the last look
    unsigned deaths = 0;                       ///< of workers since then: each may have done it
    std::uint64_t submitted = 0;               ///< when it looked last
    std::uint64_t oldest = 0;     ///< position of the oldest task that waits, plus 1; 0: none
    unsigned looks_in_vain = 0;   ///< while it was the same one, and a worker was idle
    std::uint64_t next_slot = 0;  ///< free slots are looked at in turn, some at a time
};

}  // namespace prefork::detail

#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "ring/hint.hpp"
#include "ring/slot.hpp"
#include "ring/wake.hpp"

// Publish, claim, commit, take back: every change of a slot word by those who move tasks.
//
//            publish            claim                commit
//   empty ───────────► ready ───────────► claimed ───────────► done ──► empty
//     ▲ │                ▲ put_back          │
//     │ └─► awaited ─────┼───────────────────┤ settle: cancelled, timed_out, lost ──► empty
//     └───────┘ poll     └───────────────────┘
//
// A worker reserves a position with one fetch-and-add on `head` (a hint, 25 ns with two processes
// at it), then takes what lies there with one compare-and-swap on the word (the truth). A position
// whose slot was still occupied when the host came round is skipped by the host, and the worker
// sees that tail has passed it.

namespace prefork::ring {

enum class priority : std::uint8_t { low, normal, high };

/// Memory for the positions of the two queues beside the ring, as many each as there are slots.
struct queue_entries {
    std::span<std::atomic<std::uint64_t>> high;
    std::span<std::atomic<std::uint64_t>> low;
};

/// Who will see to a task that was just published.
enum class attention {
    polled,  ///< a worker looks at the slot: an answer may be a fraction of a microsecond away
    awake,   ///< nobody sleeps, or one who is awake is bound to come by
    woken,   ///< a sleeper was woken: some microseconds at least
};

enum class commit_result {
    refused,  ///< the host has meanwhile settled the task otherwise: the result is void
    done,
    watched,  ///< done, and the host's event descriptor is to be told
};

/// A ring of a power of two of slots over borrowed memory, the same in every process.
class ring {
  public:
    ring(hints& shared, std::span<slot> slots, queue_entries queues, sleepers beds) noexcept
        : shared_(&shared), slots_(slots), queues_(queues), mask_(slots.size() - 1), beds_(beds) {}

    [[nodiscard]] std::size_t capacity() const noexcept { return slots_.size(); }
    [[nodiscard]] slot& at(std::uint64_t position) noexcept { return slots_[position & mask_]; }
    [[nodiscard]] slot_word word(std::uint64_t position) noexcept {
        // Acquire: whoever sees `done` may read the result that was written before it.
        return slot_word{at(position).word.load(std::memory_order_acquire)};
    }

    [[nodiscard]] hints& shared() noexcept { return *shared_; }
    [[nodiscard]] sleepers& beds() noexcept { return beds_; }

    // ---- host: calls are serialised by the caller -------------------------------------------

    /// Makes the filled slot at `position` claimable, and wakes one sleeper if nobody polls the
    /// slot, someone sleeps, and nobody else is bound to look here. The slot must be empty or
    /// awaited. At most one system call.
    attention publish(std::uint64_t position, priority as = priority::normal);

    /// A claimed task whose worker is gone becomes claimable again, first in line, as `attempt`.
    /// False when the word is no longer `from`.
    [[nodiscard]] bool put_back(slot_word from, std::uint64_t attempt);

    /// One step of the host on a live task: `from` → `to` (cancelled, timed_out, lost), or
    /// setting `waited`. On failure `from` is what the word holds now.
    [[nodiscard]] bool change(std::uint64_t position, slot_word& from, slot_word to) noexcept;

    /// A position that leads to the same slot, at most the ring's length before `tail`: what ran
    /// while the ring went round may be older than that, and workers would have to walk all the
    /// way.
    [[nodiscard]] std::uint64_t in_last_lap(std::uint64_t position,
                                            std::uint64_t tail) const noexcept;

    /// The slot may be published into again.
    void free(std::uint64_t position) noexcept;

    /// Every hint is made again, and every wake given again. `oldest` is the oldest position that
    /// may be unclaimed.
    void look_again(std::uint64_t oldest);

    /// After a proven death, and harmless at any time: drops every hint that the dead owner held,
    /// and gives every wake again that it may have owed, see look_again().
    void recover(unsigned dead_owner, std::uint64_t oldest);

    /// A task that is ready, and that nobody came for in a long time: who was woken for it, was to
    /// wake another, or had its position reserved may have been stopped. Shown to the others;
    /// harmless at any time.
    void recall(std::uint64_t position, slot_word seen);
    /// Where the tail of one of the two queues really is.
    [[nodiscard]] std::uint64_t tail_of(const queue_hint& queue) const noexcept {
        return &queue == &shared_->high ? high_tail_ : low_tail_;
    }
    /// Workers look at every entry once more; those of tasks that aren't ready lead nowhere.
    void rewind(queue_hint& queue) noexcept;

    /// A watched task has ended: wakes who waits for any of several. By host and workers.
    void announce() noexcept;

    // ---- worker -----------------------------------------------------------------------------

    /// Publishes the result written to the slot. Wakes the host's waiter if there is one, and
    /// whoever waits for any of several when the task is watched.
    [[nodiscard]] commit_result commit(std::uint64_t position, slot_word claimed) noexcept;

  private:
    friend class claimer;

    [[nodiscard]] bool enqueue(std::uint64_t position, queue_hint& queue,
                               std::span<std::atomic<std::uint64_t>> entries) noexcept;

    hints* shared_;
    std::span<slot> slots_;
    queue_entries queues_;
    std::uint64_t mask_;
    sleepers beds_;
    // Host only: the chain of who must look behind, publish(); and what it has told the workers of
    // the queues, which they could write over.
    std::uint64_t published_before_ = 0;
    std::uint64_t high_tail_ = 0;
    std::uint64_t low_tail_ = 0;
};

struct claimed_task {
    std::uint64_t position;
    slot_word word;
};

/// A worker's way through the ring. One in each worker; what it holds may die with it.
class claimer {
  public:
    claimer(ring& tasks, unsigned owner) noexcept : ring_(&tasks), owner_(owner) {}

    /// The next task that is ready, without waiting.
    [[nodiscard]] std::optional<claimed_task> try_claim();

    /// As try_claim, but polls the reserved slot up to `spins` times, marked as awaited so that the
    /// host saves the wake.
    [[nodiscard]] std::optional<claimed_task> poll(unsigned spins);

    /// Gives up the reservation and sleeps until woken, work shows, or `deadline`; not at all when
    /// `or_else()`, which is asked after the idle bit is set, says so. What it returns, as of
    /// give_up_reservation(), comes instead of the sleep.
    template <class OrElse>
    [[nodiscard]] std::optional<claimed_task> park(base::time_point deadline, OrElse or_else) {
        if (auto promised = give_up_reservation()) return promised;
        ring_->beds_.sleep(seat(), deadline, [&] { return work_in_sight() || or_else(); });
        return std::nullopt;
    }
    [[nodiscard]] std::optional<claimed_task> park(base::time_point deadline) {
        return park(deadline, [] { return false; });
    }

    /// Hands a reservation back, so that no position is left without a worker to look at it. Before
    /// this worker does anything else than look for tasks. A task that was published where it
    /// polled is claimed and returned: nobody else was told of it.
    [[nodiscard]] std::optional<claimed_task> give_up_reservation() noexcept;

  private:
    [[nodiscard]] bool take(std::uint64_t position, slot_word seen, claimed_task& task) noexcept;
    [[nodiscard]] bool take_put_back(claimed_task& task) noexcept;
    [[nodiscard]] bool take_queued(queue_hint& queue, std::span<std::atomic<std::uint64_t>> entries,
                                   claimed_task& task) noexcept;
    [[nodiscard]] std::optional<claimed_task> claim_from_head() noexcept;
    [[nodiscard]] bool take_unless_low(std::uint64_t position, claimed_task& task) noexcept;
    [[nodiscard]] bool is_promised() const noexcept;
    [[nodiscard]] bool stop_polling(claimed_task& task) noexcept;
    void poll_slot() noexcept;
    void drop_reservation() noexcept;
    void look_around() noexcept;
    [[nodiscard]] bool work_in_sight() noexcept;
    void look_behind(std::uint64_t position) noexcept;
    [[nodiscard]] unsigned seat() const noexcept { return owner_ - 1; }

    ring* ring_;
    unsigned owner_;
    std::uint64_t reserved_ = 0;
    bool has_reservation_ = false;
    /// Our mark was set in the reserved slot and not taken off: the host may have published there,
    /// and then it has woken nobody, because it counts on us.
    bool polls_ = false;
};

}  // namespace prefork::ring

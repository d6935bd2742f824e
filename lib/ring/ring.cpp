#include "ring/ring.hpp"

#include <algorithm>

#include "base/fail_point.hpp"
#include "base/futex.hpp"

namespace prefork::ring {

// False when the queue is full of tasks that were given up while they waited: then the task goes
// with those of normal priority.
bool ring::enqueue(std::uint64_t position, queue_hint& queue,
                   std::span<std::atomic<std::uint64_t>> entries) noexcept {
    // Our own count of what lies there: the shared one is for the workers.
    const std::uint64_t tail = tail_of(queue);
    if (tail - queue.head.load(std::memory_order_relaxed) >= entries.size()) return false;
    // Relaxed: the tail publishes it.
    // model: publish.entry
    entries[tail & mask_].store(position, std::memory_order_relaxed);
    return true;
}

attention ring::publish(std::uint64_t position, priority as) {
    slot& here = at(position);
    const bool high = as == priority::high && enqueue(position, shared_->high, queues_.high);
    const bool low = as == priority::low && enqueue(position, shared_->low, queues_.low);
    const slot_word next = slot_word::ready(position, 0).with_low(low);
    std::uint64_t seen = here.word.load(std::memory_order_relaxed);
    slot_word before;
    do {
        before = slot_word{seen};
        // seq_cst, more than the release that hands the slot's contents over: this store and the
        // loads of idle bits below are the host's half of Dekker's argument (wake.hpp).
        // model: publish.word
    } while (!here.word.compare_exchange_weak(seen, next.bits(), std::memory_order_seq_cst,
                                              std::memory_order_relaxed));
    base::fail_point::pass("publish.ready");
    // seq_cst: as the tail below. After the word: who sees the entry finds the task.
    // model: publish.queue_tail
    if (high) shared_->high.tail.store(++high_tail_, std::memory_order_seq_cst);
    if (low) shared_->low.tail.store(++low_tail_, std::memory_order_seq_cst);
    const std::uint64_t previous = published_before_;
    published_before_ = position;
    if (before.state() == state::awaited) {
        // model: publish.tail_polled
        shared_->tail.store(position + 1, std::memory_order_release);
        return attention::polled;
    }
    // seq_cst: a worker that is about to sleep decides by tail; it must not miss this one unless
    // we see its idle bit.
    // model: publish.tail
    shared_->tail.store(position + 1, std::memory_order_seq_cst);
    base::fail_point::pass("publish.before_wake");
    // model: publish.any
    if (!beds_.any()) return attention::awake;
    // The chain: whoever claims the task before this one looks behind it afterwards and wakes as
    // many as are needed (claimer::look_behind). Its claim comes after our load of the word, so
    // its looks come after our publication. A burst therefore costs one system call.
    // model: publish.previous
    const slot_word prior = word(previous);
    if (previous != position && prior.state() == state::ready &&
        distance(previous, prior.seq()) == 0) {
        return attention::awake;
    }
    return beds_.wake(1) > 0 ? attention::woken : attention::awake;
}

bool ring::put_back(slot_word from, std::uint64_t attempt) {
    std::uint64_t seen = from.bits();
    // Of low priority no more: its entry in that queue may be another's by now.
    const slot_word next = slot_word::ready(from.seq(), attempt)
                               .with_waited(from.waited())
                               .with_watched(from.watched());
    // model: put_back.word
    if (!at(from.seq())
             .word.compare_exchange_strong(seen, next.bits(), std::memory_order_seq_cst,
                                           std::memory_order_relaxed)) {
        return false;
    }
    base::fail_point::pass("put_back.ready");
    for (auto& entry : shared_->retry) {
        std::uint64_t none = 0;
        // model: put_back.retry
        if (entry.compare_exchange_strong(none, from.seq() + 1, std::memory_order_seq_cst)) {
            beds_.wake(1);
            return true;
        }
    }
    // No entry free: the workers come past it again on the way from head. Slower, never lost.
    const std::uint64_t tail = published_before_ + 1;
    lower_head(*shared_,
               in_last_lap(tail - static_cast<std::uint64_t>(distance(from.seq(), tail)), tail));
    beds_.wake(1);
    return true;
}

void ring::recall(std::uint64_t position, slot_word seen) {
    lower_head(*shared_, position);
    if (seen.is_low()) rewind(shared_->low);
    beds_.wake_all();
}

std::uint64_t ring::in_last_lap(std::uint64_t position, std::uint64_t tail) const noexcept {
    if (distance(position, tail) <= static_cast<std::int64_t>(capacity())) return position;
    const std::uint64_t first = tail - capacity();
    return first + ((position - first) & mask_);
}

void ring::rewind(queue_hint& queue) noexcept {
    const std::uint64_t tail = tail_of(queue);
    queue.head.store(tail - std::min<std::uint64_t>(tail, slots_.size()),
                     std::memory_order_seq_cst);
}

bool ring::change(std::uint64_t position, slot_word& from, slot_word to) noexcept {
    std::uint64_t seen = from.bits();
    // acq_rel: a result may be read after a failed change that finds `done`.
    const bool changed = at(position).word.compare_exchange_strong(
        seen, to.bits(), std::memory_order_acq_rel, std::memory_order_acquire);
    if (!changed) from = slot_word{seen};
    return changed;
}

void ring::free(std::uint64_t position) noexcept {
    // Release: the host has read the result before the slot can be filled again. Only the host
    // leaves a terminal state, so a plain store suffices.
    at(position).word.store(slot_word{}.bits(), std::memory_order_release);
}

void ring::look_again(std::uint64_t oldest) {
    // model: recover.head
    lower_head(*shared_, oldest);
    // model: recover.queue
    rewind(shared_->high);
    rewind(shared_->low);
    // It may have cleared a sleeper's bit and not woken it yet: bits don't say who sleeps.
    beds_.wake_all();
    shared_->room_made.fetch_add(1, std::memory_order_seq_cst);
    base::futex_wake(&shared_->room_made, base::every_waiter);
    announce();
}

void ring::recover(unsigned dead_owner, std::uint64_t oldest) {
    base::fail_point::pass("recover.begun");
    // model: recover.forget
    beds_.forget(dead_owner - 1);
    // Of the queues too: it may have taken an entry and not yet the task.
    look_again(oldest);
    base::fail_point::pass("recover.before_awaited");
    for (slot& each : slots_) {
        std::uint64_t seen = each.word.load(std::memory_order_relaxed);
        const slot_word word{seen};
        if (word.state() == state::awaited && word.owner() == dead_owner) {
            // model: recover.mark
            each.word.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
        }
    }
}

commit_result ring::commit(std::uint64_t position, slot_word claimed) noexcept {
    slot& here = at(position);
    std::uint64_t seen = claimed.bits();
    slot_word now = claimed;
    do {
        now = slot_word{seen};
        if (now.bare() != claimed.bare()) return commit_result::refused;
        // Release publishes the result; acq_rel because the failure path reads a foreign change.
        // model: commit.word
    } while (!here.word.compare_exchange_weak(
        seen, now.with(state::done).bits(), std::memory_order_acq_rel, std::memory_order_acquire));
    base::fail_point::pass("commit.done");
    if (now.waited()) {
        base::fail_point::pass("commit.before_wake");
        // Every: besides the owner of the future, threads that submit or drain may wait for it.
        // model: commit.wake
        base::futex_wake(here.futex(), base::every_waiter);
    }
    if (!now.watched()) return commit_result::done;
    announce();
    return commit_result::watched;
}

void ring::announce() noexcept {
    base::fail_point::pass("announce.begun");
    // Release: who sees the count sees the words that ended before it.
    shared_->completions.fetch_add(1, std::memory_order_release);
    base::futex_wake(&shared_->completions, base::every_waiter);
}

bool claimer::take(std::uint64_t position, slot_word seen, claimed_task& task) noexcept {
    slot& here = ring_->at(position);
    std::uint64_t bits = seen.bits();
    while (slot_word{bits}.state() == state::ready) {
        const slot_word mine = slot_word{bits}.with(state::claimed).with_owner(owner_);
        // seq_cst: the claim comes before the looks of look_behind() in the single total order,
        // see ring::publish(). Its acquire half makes the arguments readable.
        // model: claim.take
        if (here.word.compare_exchange_weak(bits, mine.bits(), std::memory_order_seq_cst,
                                            std::memory_order_relaxed)) {
            base::fail_point::pass("claim.taken");
            task = {mine.seq(), mine};
            return true;
        }
    }
    return false;
}

// Our mark is no longer in the slot that we poll: the host has published there.
bool claimer::is_promised() const noexcept {
    // model: claim.promised
    return polls_ && ring_->word(reserved_) != slot_word{}.with(state::awaited).with_owner(owner_);
}

// Takes our mark off. True when the host published there before that: as it has woken nobody, the
// task is claimed, whatever else there is to do. (Unless another worker came past it first.)
bool claimer::stop_polling(claimed_task& task) noexcept {
    if (!polls_) return false;
    polls_ = false;
    std::uint64_t bits = ring_->word(reserved_).bits();
    const slot_word mark = slot_word{}.with(state::awaited).with_owner(owner_);
    // model: claim.stop_polling
    if (bits == mark.bits() && ring_->at(reserved_).word.compare_exchange_strong(
                                   bits, 0, std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return false;
    }
    if (!take(reserved_, slot_word{bits}, task)) return false;
    if (distance(reserved_, task.position) == 0) {
        has_reservation_ = false;
    } else {
        drop_reservation();
    }
    return true;
}

bool claimer::take_put_back(claimed_task& task) noexcept {
    for (auto& entry : ring_->shared_->retry) {
        // model: claim.retry
        std::uint64_t position = entry.load(std::memory_order_relaxed);
        if (position == 0) continue;
        if (stop_polling(task)) return true;
        const bool taken = take(position - 1, ring_->word(position - 1), task);
        base::fail_point::pass("claim.before_entry_cleared");
        // Cleared after the claim: whoever dies in between leaves an entry that leads to a word
        // that is claimed, and the next worker clears it.
        // model: claim.clear_retry
        entry.compare_exchange_strong(position, 0, std::memory_order_acq_rel);
        if (taken) return true;
    }
    return false;
}

// Of the two queues: one that was cancelled meanwhile, or found from head, leads to a word that
// isn't its own or isn't ready.
bool claimer::take_queued(queue_hint& queue, std::span<std::atomic<std::uint64_t>> entries,
                          claimed_task& task) noexcept {
    std::uint64_t head = queue.head.load(std::memory_order_relaxed);
    // model: claim.queue
    while (head != queue.tail.load(std::memory_order_acquire)) {
        if (stop_polling(task)) return true;
        const std::uint64_t position = entries[head & ring_->mask_].load(std::memory_order_relaxed);
        // model: claim.entry
        if (!queue.head.compare_exchange_weak(head, head + 1, std::memory_order_seq_cst,
                                              std::memory_order_relaxed)) {
            continue;
        }
        base::fail_point::pass("claim.dequeued");
        const slot_word word = ring_->word(position);
        if (distance(position, word.seq()) == 0 && take(position, word, task)) return true;
        head = queue.head.load(std::memory_order_relaxed);
    }
    return false;
}

void claimer::look_behind(std::uint64_t position) noexcept {
    // model: behind.any
    if (!ring_->beds_.any()) return;
    // model: behind.tail
    const std::uint64_t tail = ring_->shared_->tail.load(std::memory_order_seq_cst);
    unsigned ready = 0;
    // At most once round: a tail that somebody wrote over is far away.
    const std::uint64_t end = position + ring_->capacity();
    for (std::uint64_t next = position + 1; ready < 2 && next != end && distance(next, tail) > 0;
         ++next) {
        // model: behind.word
        ready +=
            slot_word{ring_->at(next).word.load(std::memory_order_seq_cst)}.state() == state::ready;
    }
    if (ready == 0 && ring_->shared_->low.in_sight()) ready = 1;
    if (ready > 0) ring_->beds_.wake(ready);
}

// A task that was taken out of turn: the one that its claimer was woken for may still wait.
void claimer::look_around() noexcept {
    base::fail_point::pass("claim.before_look_around");
    if (ring_->beds_.any() && work_in_sight()) ring_->beds_.wake(1);
}

std::optional<claimed_task> claimer::try_claim() {
    claimed_task task{};
    hints& shared = *ring_->shared_;
    if (is_promised() && stop_polling(task)) {
        look_behind(task.position);
        return task;
    }
    const bool first = take_put_back(task) || take_queued(shared.high, ring_->queues_.high, task);
    if (!first) {
        if (auto from_head = claim_from_head()) return from_head;
        if (!take_queued(shared.low, ring_->queues_.low, task)) return std::nullopt;
    }
    // Out of turn: a position that is reserved is another's now.
    drop_reservation();
    look_around();
    return task;
}

std::optional<claimed_task> claimer::claim_from_head() noexcept {
    claimed_task task{};
    hints& shared = *ring_->shared_;
    for (;;) {
        if (!has_reservation_) {
            // Relaxed: only uniqueness is wanted of it; the word's own exchange orders everything.
            // model: claim.reserve
            reserved_ = shared.head.fetch_add(1, std::memory_order_relaxed);
            has_reservation_ = true;
            base::fail_point::pass("claim.reserved");
        }
        if (take_unless_low(reserved_, task)) break;
        // Tail before word: when tail has passed and the word still is not ready, the position was
        // claimed by another, skipped by the host, or is the low queue's, and will not come back.
        // model: claim.tail
        if (distance(reserved_, shared.tail.load(std::memory_order_acquire)) <= 0) {
            return std::nullopt;
        }
        if (take_unless_low(reserved_, task)) break;
        // The slot of a position that was skipped may be free again, and polled by us.
        if (stop_polling(task)) break;
        has_reservation_ = false;
    }
    polls_ = false;
    if (has_reservation_ && distance(reserved_, task.position) == 0) {
        has_reservation_ = false;
    } else {
        // An older task still lay in this slot. The reserved position has yet to be published or
        // skipped, and we shall be busy.
        drop_reservation();
    }
    base::fail_point::pass("claim.before_look_behind");
    look_behind(task.position);
    return task;
}

bool claimer::take_unless_low(std::uint64_t position, claimed_task& task) noexcept {
    const slot_word seen = ring_->word(position);
    return !seen.is_low() && take(position, seen, task);
}

std::optional<claimed_task> claimer::poll(unsigned spins) {
    hints& shared = *ring_->shared_;
    for (unsigned i = 0; i < spins; ++i) {
        if (i % 32 == 0) {
            if (auto task = try_claim()) return task;
            // Head was lowered, or another gave a position up: what lies there is ours to see to.
            const std::uint64_t tail = shared.tail.load(std::memory_order_relaxed);
            if (distance(shared.head.load(std::memory_order_relaxed), tail) > 0) {
                if (auto promised = give_up_reservation()) return promised;
                if (auto task = try_claim()) return task;
            }
        }
        const slot_word seen = ring_->word(reserved_);
        if (seen.state() == state::ready) {
            if (auto task = try_claim()) return task;
        } else if (seen.state() == state::empty) {
            poll_slot();
        }
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
    return std::nullopt;
}

// Only where we have a reservation, so that giving it up takes the mark off.
void claimer::poll_slot() noexcept {
    std::uint64_t none = 0;
    const slot_word mark = slot_word{}.with(state::awaited).with_owner(owner_);
    // Release/relaxed suffice: the word itself tells the host that it is polled.
    // model: claim.mark
    polls_ |= ring_->at(reserved_).word.compare_exchange_strong(
        none, mark.bits(), std::memory_order_acq_rel, std::memory_order_relaxed);
    base::fail_point::pass("claim.awaited");
}

std::optional<claimed_task> claimer::give_up_reservation() noexcept {
    claimed_task task{};
    if (stop_polling(task)) {
        look_behind(task.position);
        return task;
    }
    drop_reservation();
    return std::nullopt;
}

void claimer::drop_reservation() noexcept {
    if (!has_reservation_) return;
    has_reservation_ = false;
    base::fail_point::pass("claim.before_head_lowered");
    // model: claim.give_up
    lower_head(*ring_->shared_, reserved_);
}

bool claimer::work_in_sight() noexcept {
    hints& shared = *ring_->shared_;
    // seq_cst: the second step of the worker's half of Dekker's argument (wake.hpp).
    // model: sight.tail
    const std::uint64_t tail = shared.tail.load(std::memory_order_seq_cst);
    // model: sight.head
    if (distance(shared.head.load(std::memory_order_seq_cst), tail) > 0) return true;
    for (const auto& entry : shared.retry) {
        // model: sight.retry
        if (entry.load(std::memory_order_seq_cst) != 0) return true;
    }
    // model: sight.queue
    return shared.high.in_sight() || shared.low.in_sight();
}

}  // namespace prefork::ring

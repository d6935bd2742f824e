#include <cstring>
#include <string>
#include <utility>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "codec/exception_codec.hpp"
#include "memory/result_arena.hpp"
#include "pool/core.hpp"
#include "pool/damage.hpp"
#include "pool/shared_block.hpp"
#include "prefork/error.hpp"

// From a committed slot to the caller. What is read here was written by a worker: every word is
// read once and checked before it is used.

namespace prefork::detail {

// A task that uses the pool it runs in.
bool pool_core::is_inherited_by_worker() const noexcept {
    return process::current_role() == process::role::worker && !host_mark_.is_here();
}

void pool_core::require_host() const {
    // Without processes there is nothing that a worker of another pool could spoil.
    if (!inline_only_ || !is_inherited_by_worker()) host_mark_.require(options_.name);
}

// Slots and books belong to the host. Results of inline runs belong to whoever ran them, a worker
// too.
void pool_core::require_host_for(ticket task) const {
    if (task.position >= first_inline && is_inherited_by_worker()) return;
    host_mark_.require(options_.name);
}

// ---- waiting: no lock held; a future belongs to one thread

bool pool_core::is_ready(ticket task) {
    if (task.position >= first_inline) return true;
    const ring::slot_word word = ring_->word(task.position);
    // Another seq: its result was harvested, and the slot is another task's.
    return ring::distance(task.position, word.seq()) != 0 || word.is_terminal() ||
           word.state() <= ring::state::awaited;
}

// Whoever parks must be woken by the worker, which takes it longer than a small task does;
// meanwhile the next task is there before the worker looks for it, and its waiter parks too. So a
// waiter spins not only when its slot was polled, but also when the wait before was short. It never
// spins when a sleeping worker had to be woken: the kernel may want to run that one here.
bool pool_core::spin_for(ticket task) {
    const ring::attention given = attention_.load(std::memory_order_relaxed);
    if (usable_cpus_ < 2 || given == ring::attention::woken) return false;
    if (given == ring::attention::awake && !short_wait_.load(std::memory_order_relaxed))
        return false;
    const std::uint64_t began = base::ticks();
    while (!is_ready(task)) {
        if (base::ticks_since(began) > spin_ticks_) return false;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    return true;
}

bool pool_core::wait(ticket task, base::time_point deadline) {
    require_host_for(task);
    if (is_ready(task)) return true;
    const std::uint64_t began = base::ticks();
    const bool ended = spin_for(task) || sleep_for(task, deadline, nullptr);
    short_wait_.store(base::ticks_since(began) <= spin_ticks_, std::memory_order_relaxed);
    return ended;
}

bool pool_core::wait(ticket task, base::time_point deadline, const std::stop_token& stop) {
    require_host_for(task);
    if (is_ready(task)) return true;
    const std::stop_callback wake{stop, [this, task] { stop_waiting(task); }};
    return sleep_for(task, deadline, &stop);
}

// The waiter sets `waited`, looks at its stop token, and sleeps on the word as it was then; the
// token says stop before this clears `waited`. So the waiter sees either the one or the other.
void pool_core::stop_waiting(ticket task) noexcept {
    ring::slot_word word = ring_->word(task.position);
    while (ring::distance(task.position, word.seq()) == 0 && word.waited() &&
           !ring_->change(task.position, word, word.with_waited(false))) {
    }
    base::futex_wake(ring_->at(task.position).futex(), base::every_waiter);
}

bool pool_core::sleep_for(ticket task, base::time_point deadline, const std::stop_token* stop) {
    ring::slot& slot = ring_->at(task.position);
    while (!is_ready(task)) {
        const base::time_point now = base::monotonic::now();
        if (now >= deadline) return false;
        // model: wait.look
        ring::slot_word word = ring_->word(task.position);
        if (is_ready(task)) return true;
        // model: wait.mark
        if (!word.waited() && !ring_->change(task.position, word, word.with_waited(true))) continue;
        if (stop != nullptr && stop->stop_requested()) return false;
        base::fail_point::pass("gather.waited");
        const base::time_point look = std::min(deadline, now + longest_sleep);
        // model: wait.sleep
        base::futex_wait(slot.futex(), word.with_waited(true).low_half(), look);
        if (base::monotonic::now() >= look) recall(task);
    }
    return true;
}

// It has been waited for a long time. If no worker has claimed it, the one that was to may have
// been stopped, and the others don't know; or somebody has written over what leads them to it.
void pool_core::recall(ticket task) {
    const lock held{mutex_};
    if (damage_.begin_looks()) wake_monitor();
    const ring::slot_word word = ring_->word(task.position);
    if (word.state() == ring::state::ready && ring::distance(task.position, word.seq()) == 0)
        ring_->recall(task.position, word);
}

// ---- taking

task_record* pool_core::find(ticket task) noexcept {
    if (task.position >= first_inline || records_.empty()) return nullptr;
    task_record& record = record_at(task.position);
    const bool here = record.in_use && !record.quarantined && record.position == task.position;
    return here ? &record : nullptr;
}

outcome pool_core::take(ticket task) {
    require_host_for(task);
    lock held{mutex_};
    outcome result;
    if (task_record* const record = find(task)) {
        const ring::slot_word word = ring_->word(task.position);
        collect(*record, word, result);
        // model: take.slot
        free_record(*record, word);
        if (damage_.note_fetched()) wake_monitor();
    } else if (auto kept = harvested_.take(task.position)) {
        result = std::move(*kept);
        if (harvested_.should_trim()) plan_trim();
    }
    reference_dropped(held);
    return result;
}

// Its run time is the worker's word; a lie spoils a statistic.
void pool_core::note_label(const std::string& label, bool failed,
                           std::optional<std::uint64_t> ran) {
    constexpr std::size_t most_labels = 1000;
    const bool known =
        label_tallies_.size() < most_labels || label_tallies_.find(label) != label_tallies_.end();
    label_tally& of = label_tallies_[known ? label : "(others)"];
    ++(failed ? of.failed : of.completed);
    if (!ran) return;
    stats::sums one;
    one.count = 1;
    one.run_sum = one.run_min = one.run_max = *ran;
    of.times += one;
}

void pool_core::collect(task_record& record, ring::slot_word word, outcome& into) {
    const bool ran = word.state() == ring::state::done;
    if (record.failure) {
        into.failure_ = std::exchange(record.failure, nullptr);
    } else if (ran && is_of(record, word) && word.owner() != 0 &&
               word.owner() <= held_results_.size()) {
        read_result(record, word, into);
    } else {
        note_damage("the word of task " + std::to_string(record.position), word.bits());
        into.failure_ = overwritten(record);
    }
    if (record.label) {
        const auto ticks = static_cast<std::uint64_t>(ring_->at(record.position).due);
        note_label(*record.label, into.failure_ != nullptr,
                   ran ? std::optional{ticks} : std::nullopt);
    }
}

inline void pool_core::read_result(const task_record& record, ring::slot_word word, outcome& into) {
    const ring::slot& slot = ring_->at(record.position);
    const auto description =
        ring::description::unpack(slot.description.load(std::memory_order_relaxed));
    // Blocks that the result names stay while it isn't decoded, even if their worker dies
    // meanwhile.
    if (description.refers) {
        hold_seat(word.owner() - 1, into);
        into.kept_ = record.attachments;  // it may be an argument that comes back
        into.names_arrays_ = true;
    }
    const std::uint64_t size = description.size;
    const ring::payload_kind kind = description.kind;
    switch (kind) {
        case ring::payload_kind::inlined:
        case ring::payload_kind::exception:
            if (size > slot.payload.size()) {
                into.failure_ =
                    not_a_result(record, "an inline payload larger than its slot", size);
                return;
            }
            std::memcpy(into.inline_.data(), slot.payload.data(), size);
            into.size_ = size;
            break;
        case ring::payload_kind::block:
        case ring::payload_kind::exception_block:
            into.failure_ = read_block(record, word, size, into);
            if (into.failure_) return;
            break;
        case ring::payload_kind::expired:
            if (record.deadline == base::never) {
                into.failure_ = not_a_result(record, "expired, without a deadline", size);
                return;
            }
            into.failure_ = late_in_queue(record);
            count_late_in_queue(record);
            return;
        case ring::payload_kind::no_memory:
            into.failure_ = std::make_exception_ptr(payload_too_large(
                "result of task " + std::to_string(record.position) + ": no room for " +
                std::to_string(size) + " bytes in the memory budget of " +
                std::to_string(budget_->limit()) + " bytes" +
                (size <= budget_->limit() - sizeof(memory::result_header)
                     ? ", which arguments and results that were not fetched hold, or a memory "
                       "cgroup "
                       "has no more"
                     : "")));
            return;
        default:
            into.failure_ = not_a_result(record, "a payload of no known kind",
                                         static_cast<std::uint64_t>(kind));
            return;
    }
    if (kind == ring::payload_kind::exception || kind == ring::payload_kind::exception_block) {
        into.failure_ = decode_exception(into.bytes());
    }
}

std::exception_ptr pool_core::read_block(const task_record& record, ring::slot_word word,
                                         std::uint64_t size, outcome& into) {
    std::uint64_t offset = 0;
    std::memcpy(&offset, ring_->at(record.position).payload.data(), sizeof offset);
    const unsigned seat = word.owner() - 1;
    // Whatever its worker says: we are about to read it, and perhaps to make a copy.
    if (size > budget_->limit()) return not_a_result(record, "larger than the memory budget", size);
    const auto part = region_->results(seat);
    // A block lies in the part of the worker that committed it, and nowhere else.
    const auto payload =
        memory::checked_result(part, offset - region_->offset_of(part.data()), size);
    if (!payload) return not_a_result(record, "a block outside of its worker's part", offset);
    into.block_ = payload->data();
    into.size_ = payload->size();
    hold_seat(seat, into);
    return nullptr;
}

void pool_core::hold_seat(unsigned seat, outcome& by) noexcept {
    if (by.seat_ != outcome::no_seat) return;
    by.core_ = this;
    by.seat_ = seat;
    pin(seat);
}

// ---- slots

inline bool pool_core::may_be_written(ring::slot_word word) {
    const unsigned owner = word.owner();
    if (word.state() == ring::state::done || owner == 0 || !roster_.is_alive(owner - 1))
        return false;
    const process::worker_entry& worker = roster_.at(owner - 1);
    // Condemned for another run since: then it had left this one.
    if (!ring::same_run(worker.condemned_for, word)) return false;
    const process::journal& notes = control_->journal_of(owner - 1);
    const ring::slot_word left{notes.left.load(std::memory_order_acquire)};
    return !ring::same_run(left, word);
}

void pool_core::free_record(task_record& record, ring::slot_word word) {
    if (may_be_written(word)) {
        if (!record.quarantined) quarantined_.push_back(record.position);
        record.quarantined = true;
        return;
    }
    if (record.arguments) {
        argument_bytes_ -= record.arguments.size;
        arguments_->release(record.arguments);
    }
    record.arguments = {};
    record.attachments.clear();
    record.failure = nullptr;
    record.label = nullptr;
    record.in_use = false;
    record.quarantined = false;
    if (record.timeout.count() > 0 && --timed_tasks_ == 0) {
        shortest_timeout_ = std::chrono::nanoseconds::max();
    }
    ring_->free(record.position);
    // Other threads may sleep on it (drain(), a submitter without room), and its worker have died
    // before it woke them.
    if (word.waited() && inside_.load() != 0) {
        base::futex_wake(ring_->at(word.seq()).futex(), base::every_waiter);
    }
    base::fail_point::pass("gather.freed");
    if (--in_ring_ != 0) return;
    // A small budget has no room for pages that might be used again; a large one has, for a while.
    if (arguments_->secured_bytes() > budget_->limit() / 8) arguments_->trim(budget_->limit() / 8);
    if (arguments_->secured_bytes() > most_kept_idle) plan_trim();
}

void pool_core::plan_trim() noexcept {
    if (inline_only_) return harvested_.trim();  // nobody is there to do it later
    if (trim_at_ != base::never) return;
    trim_at_ = base::monotonic::now() + idle_before_trim;
    wake_monitor();
}

void pool_core::end_quarantine() {
    std::erase_if(quarantined_, [this](std::uint64_t position) {
        task_record& record = record_at(position);
        // model: quarantine.end
        free_record(record, ring_->word(position));
        return !record.in_use;
    });
}

void pool_core::harvest(task_record& record, ring::slot_word word) {
    if (record.runs_here) return;
    if (record.quarantined) {
        end_quarantine();
        return;
    }
    // The place first: a result that was taken and can't be kept would be lost.
    outcome unwanted;
    outcome& place = record.abandoned ? unwanted : harvested_.place_for(record.position);
    try {
        collect(record, word, place);
    } catch (...) {
        harvested_.erase(record.position);
        throw;
    }
    free_record(record, word);
    // Its worker may have died between commit and wake, and what lies here next wakes nobody for
    // this one.
    if (word.waited()) base::futex_wake(ring_->at(word.seq()).futex(), base::every_waiter);
}

bool pool_core::harvest_all() {
    bool gave_arguments_back = false;
    for (task_record& record : records_) {
        if (!record.in_use) continue;
        const ring::slot_word word = ring_->word(record.position);
        if (!word.is_terminal()) continue;
        const bool had_arguments{record.arguments};
        harvest(record, word);
        gave_arguments_back |= had_arguments && !record.in_use;
    }
    return gave_arguments_back;
}

void pool_core::wait_for_oldest(lock& held) {
    std::optional<ticket> oldest;
    for (const task_record& record : records_) {
        if (!record.in_use || record.quarantined) continue;
        if (!oldest || record.position < oldest->position) oldest = ticket{record.position};
    }
    const inside here{*this};
    held.unlock();
    if (oldest) {
        static_cast<void>(wait(*oldest, base::monotonic::now() + longest_sleep));
    } else {
        std::this_thread::yield();
    }
    held.lock();
    end_quarantine();
    check_open();
}

void pool_core::abandon(ticket task) noexcept {
    // In a process that the user forked, this is the copy of a future that lives on in the host.
    if (!host_mark_.is_here() && (task.position < first_inline || !is_inherited_by_worker())) {
        return;
    }
    outcome dropped;  // destroyed last, without the lock
    lock held{mutex_};
    if (task_record* const record = find(task)) {
        const ring::slot_word word = ring_->word(task.position);
        if (word.is_terminal()) {
            collect(*record, word, dropped);
            free_record(*record, word);
        } else {
            record->abandoned = true;
            try {
                abandoned_.push_back(task.position);
            } catch (const std::bad_alloc&) {
                // Found when the ring comes round, or at the pool's end.
            }
        }
    } else if (auto kept = harvested_.take(task.position)) {
        dropped = std::move(*kept);
        if (harvested_.should_trim()) plan_trim();
    }
    reference_dropped(held);
}

void pool_core::sweep_abandoned() {
    // A few at a time, so that no submission pays for all.
    for (int i = 0; i < 4 && !abandoned_.empty(); ++i) {
        const std::size_t at = next_position_ % abandoned_.size();
        const std::uint64_t position = abandoned_[at];
        if (task_record* const record = find({position})) {
            const ring::slot_word word = ring_->word(position);
            if (!word.is_terminal()) return;
            harvest(*record, word);
        }
        abandoned_[at] = abandoned_.back();
        abandoned_.pop_back();
    }
}

// ---- blocks

// No lock here, because results are also dropped with the lock held; so counts are atomic. The
// host's own counters, in private memory: nobody dies with them.
void pool_core::pin(unsigned seat) noexcept {
    held_results_[seat].fetch_add(1, std::memory_order_relaxed);
    blocks_out_.fetch_add(1, std::memory_order_relaxed);
}

void pool_core::unpin(unsigned seat) noexcept {
    if (!host_mark_.is_here()) return;  // the copy of a result, see abandon()
    if (held_results_[seat].fetch_sub(1, std::memory_order_acq_rel) == 1 &&
        !roster_.is_alive(seat)) {
        wake_monitor();
    }
    drop_block();
}

void pool_core::release_result(std::byte* payload, unsigned seat) noexcept {
    if (!host_mark_.is_here()) return;
    if (payload != nullptr) memory::release_result(payload);
    unpin(seat);
}

void pool_core::drop_block() noexcept {
    blocks_out_.fetch_sub(1, std::memory_order_acq_rel);
    if (!orphaned_.load(std::memory_order_acquire)) return;
    lock held{mutex_};
    reference_dropped(held);
}

bool pool_core::owns_result(unsigned seat, const std::byte* data, std::uint64_t bytes) {
    if (!region_ || seat >= held_results_.size()) return false;
    const auto part = region_->results(seat);
    const auto offset =
        reinterpret_cast<std::uint64_t>(data) - reinterpret_cast<std::uint64_t>(part.data());
    return memory::checked_result(part, offset, bytes).has_value();
}

unsigned pool_core::seat_of(const std::byte* data) const noexcept { return region_->seat_of(data); }

void pool_core::vacate(process::worker_entry& worker) {
    region_->release(region_->results(worker.seat));
    budget_->forget(worker.seat);
    roster_.vacate(worker.seat);
}

void pool_core::reference_dropped(lock& held) noexcept {
    if (!orphaned_ || ended_ || in_ring_ != 0 || !harvested_.empty() ||
        blocks_out_.load(std::memory_order_acquire) != 0) {
        return;
    }
    end(held);
}

outcome::outcome(outcome&& other) noexcept
    : core_(std::exchange(other.core_, nullptr)),
      block_(std::exchange(other.block_, nullptr)),
      size_(other.size_),
      seat_(std::exchange(other.seat_, no_seat)),
      names_arrays_(other.names_arrays_),
      kept_(std::move(other.kept_)),
      failure_(std::move(other.failure_)) {
    if (block_ == nullptr) std::memcpy(inline_.data(), other.inline_.data(), inline_.size());
}

outcome& outcome::operator=(outcome&& other) noexcept {
    if (this != &other) {
        this->~outcome();
        new (this) outcome(std::move(other));
    }
    return *this;
}

outcome::~outcome() {
    if (seat_ != no_seat) {
        core_->release_result(block_, seat_);
    } else if (block_ != nullptr) {
        ::operator delete[](block_, std::align_val_t{payload_alignment});
    }
}

decoding::decoding(const outcome& of) noexcept {
    static_assert(sizeof(exchange) <= sizeof exchange_ && alignof(exchange) <= alignof(void*));
    new (exchange_) exchange{of.core_, of.seat_};
}

decoding::~decoding() { std::launder(reinterpret_cast<exchange*>(exchange_))->~exchange(); }

std::span<const std::byte> outcome::bytes() const {
    if (failure_) std::rethrow_exception(failure_);
    return {block_ != nullptr ? block_ : inline_.data(), size_};
}

}  // namespace prefork::detail

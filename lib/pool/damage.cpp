#include "pool/damage.hpp"

#include <algorithm>
#include <cstdio>
#include <new>
#include <utility>

#include "base/futex.hpp"
#include "base/system_call.hpp"
#include "log/log.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"

// Each check is a proof: of a word that only the host writes it has a copy, and of the others it
// knows which values nobody honest can have written, whatever the workers do at this moment. What
// only seems odd (a task that nobody takes) has all hints made again, and is not called damage.
//
// Who did it can't be read off what was written, since every worker may write there, in anybody's
// name. But user code runs only in a worker that has a task. So if one worker alone had a task
// since the last look, it did it, and is ended. Of several, those that had one each time that
// something was found, twice running: a stray write is put right and harms nobody else, and one
// who goes on writing is ended within a second, at worst with those that ran beside it. All with
// the mutex held. (A thread that a task left behind can do it in its worker's spare time, and have
// another blamed once; the next look finds it again.)

namespace prefork::detail {
namespace {

constexpr std::size_t most_lines = 16;  // a look
constexpr std::uint64_t free_slots_at_a_time = 1024;

std::string hex(std::uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

/// How long a worker may hold what it doesn't begin, or leave alone what waits for it, before it is
/// ended and the task runs elsewhere. It takes microseconds, unless it waits for a CPU.
base::nanoseconds patience_with(pid_t pid) {
    std::string stat;
    if (base::proc_is_ours()) {
        stat = base::read_small_file("/proc/" + std::to_string(pid) + "/stat");
    }
    const auto name_end = stat.rfind(')');
    const bool known = name_end != std::string::npos && name_end + 2 < stat.size();
    switch (known ? stat[name_end + 2] : '-') {
        case 'S':  // it had a CPU, and found nothing to do
            return std::chrono::seconds(1);
        case 'T':  // by a stranger's SIGSTOP, or a debugger: they may take the time that they take
        case 't':
            return base::nanoseconds::max();
        default:
            return std::chrono::seconds(10);
    }
}

}  // namespace

// ---- what is said of it

void pool_core::note_damage(const std::string& what, std::uint64_t value) noexcept {
    ++damage_.found;
    damage_.fresh = true;
    try {
        damage_.last = what + " was written over with " + hex(value);
        if (damage_.lines.size() < most_lines) {
            damage_.lines.push_back(damage_.last);
        } else {
            ++damage_.unsaid;
        }
    } catch (const std::bad_alloc&) {
        // It is put right all the same.
    }
}

void pool_core::report_damage(lock& held) {
    if (damage_.lines.empty()) return;
    std::vector<std::string> lines = std::exchange(damage_.lines, {});
    if (const std::uint64_t more = std::exchange(damage_.unsaid, 0); more != 0) {
        lines.push_back("and " + std::to_string(more) + " words more");
    }
    const std::string pool = "pool '" + options_.name + "': ";
    held.unlock();
    for (const std::string& each : lines) logging::say(level::warning, pool + each);
    held.lock();
}

// ---- words that only the host writes, and the hints

template <class T>
void pool_core::mend(std::atomic<T>& word, T right, const char* name) noexcept {
    const T seen = word.load(std::memory_order_relaxed);
    if (seen == right) return;
    // seq_cst: workers look at some of these before they sleep (wake.hpp).
    word.store(right, std::memory_order_seq_cst);
    note_damage(name, static_cast<std::uint64_t>(seen));
}

void pool_core::mend_shared() {
    const std::uint64_t found = damage_.found;
    mend_switches();
    mend_hints();
    for (const process::worker_entry& each : roster_.all()) {
        // What a worker holds only it knows; the spare holds nothing yet.
        if (roster_.is_alive(each.seat) && !roster_.is_spare(each)) continue;
        if (const auto seen = budget_->mend(each.seat)) note_damage("a sum of memory", *seen);
    }
    if (const auto seen = budget_->mend(roster_.all().size())) {
        note_damage("the host's sum of memory", *seen);
    }
    if (found != damage_.found) wake_all_workers();
}

void pool_core::mend_switches() {
    process::switches& flags = control_->flags();
    mend(flags.closing, stopping_ ? 1u : 0u, "switch 'closing'");
    mend(flags.paused, paused_ ? 1u : 0u, "switch 'paused'");
    mend(flags.broadcasts, static_cast<std::uint32_t>(broadcasts_.size()), "switch 'broadcasts'");
    mend(flags.first_broadcast,
         broadcasts_.empty() ? 0 : region_->offset_of(broadcasts_.front().block.data),
         "switch 'first_broadcast'");
}

void pool_core::mend_hints() {
    ring::hints& shared = ring_->shared();
    mend(shared.tail, next_position_, "hint 'tail'");
    // While somebody waits, workers clear it; the waiter looks for itself every now and then.
    if (room_waiters_ == 0) mend(shared.room_wanted, std::uint64_t{0}, "hint 'room_wanted'");
    for (const auto& [queue, name] : {std::pair{&shared.high, "tail of the high queue"},
                                      {&shared.low, "tail of the low queue"}}) {
        const std::uint64_t tail = ring_->tail_of(*queue);
        mend(queue->tail, tail, name);
        // Never advanced beyond tail, and no entry is written over unseen.
        const std::uint64_t head = queue->head.load(std::memory_order_relaxed);
        if (tail - head <= records_.size()) continue;
        ring_->rewind(*queue);
        note_damage("head of a queue", head);
    }
    for (auto& entry : shared.retry) {
        std::uint64_t seen = entry.load(std::memory_order_relaxed);
        if (seen <= next_position_) continue;
        if (entry.compare_exchange_strong(seen, 0, std::memory_order_seq_cst)) {
            note_damage("an entry of 'retry'", seen);
        }
    }
    // Each worker that looks for work has reserved one position beyond tail at most.
    const std::uint64_t head = shared.head.load(std::memory_order_relaxed);
    if (head > next_position_ + 2 * roster_.all().size()) {
        shared.head.store(oldest_unclaimed(), std::memory_order_seq_cst);
        note_damage("hint 'head'", head);
    }
    for (unsigned i = 0; i < ring::bitmap_words; ++i) {
        std::uint64_t beds = 0;
        for (unsigned bit = 0; bit < 64; ++bit) {
            // A dead one's, too, until its death is settled.
            const std::uint64_t seat = i * 64 + bit;
            if (seat < roster_.all().size() && roster_.all()[seat].phase != process::phase::free)
                beds |= std::uint64_t{1} << bit;
        }
        const std::uint64_t seen =
            shared.idle[i].fetch_and(beds, std::memory_order_seq_cst) & ~beds;
        if (seen != 0) note_damage("bits of sleepers that don't exist", seen);
    }
}

// ---- a worker's journal

void pool_core::look_at_journal(process::worker_entry& worker) {
    process::journal& notes = control_->journal_of(worker.seat);
    const std::string of = " of worker " + std::to_string(worker.index);
    const ring::slot_word left{notes.left.load(std::memory_order_acquire)};
    if (!may_run(left, worker.seat)) {
        notes.left.store(0, std::memory_order_relaxed);
        note_damage("journal word 'left'" + of, left.bits());
    }
    mend(notes.stop_for, worker.asked_to_stop, ("journal word 'stop_for'" + of).c_str());
    std::uint64_t turn = notes.turn.load(std::memory_order_relaxed);
    const std::uint64_t own = roster_.is_spare(worker) ? 0 : worker.index + 1;
    const bool leaves = worker.superseded || worker.asked_to_leave;
    const bool honest = leaves ? turn == process::turn_to_leave || turn == process::has_left
                               : turn == 0 || turn == own || turn == process::has_left;
    if (!honest && notes.turn.compare_exchange_strong(turn, leaves ? process::turn_to_leave : own,
                                                      std::memory_order_acq_rel)) {
        note_damage("journal word 'turn'" + of, turn);
        ring_->beds().wake_seat(worker.seat);
    }
    process::worker_progress& progress = control_->progress_of(worker.seat);
    for (auto* const count : {&progress.begun, &progress.done}) {
        const std::uint32_t seen = count->load(std::memory_order_relaxed);
        if (seen <= broadcasts_.size()) continue;
        count->store(static_cast<std::uint32_t>(broadcasts_.size()), std::memory_order_release);
        note_damage("the count of broadcasts" + of, seen);
    }
    const ring::slot_word running{notes.running.load(std::memory_order_acquire)};
    if (may_run(running, worker.seat)) return;
    // Nobody knows any more what it is in, so nobody could end that when it is late.
    note_damage("journal word 'running'" + of, running.bits());
    worker.wild = true;
    kill_worker(worker, killer::pool);
}

// ---- the words of tasks

// Why nobody honest can have written this; nullptr if somebody can.
const char* pool_core::what_is_wrong(const task_record& record, ring::slot_word word) {
    if (!is_of(record, word)) return "it names another task";
    if (record.failure) {
        return word.is_terminal() && word.state() <= ring::state::lost ? nullptr
                                                                       : "the host has ended it";
    }
    switch (word.state()) {
        case ring::state::ready:
            return word.owner() == 0 ? nullptr : "it waits, and has an owner";
        case ring::state::claimed: {
            if (!roster_.is_alive(word.owner() - 1)) return "no worker has it";
            const ring::slot_word running{
                control_->journal_of(word.owner() - 1).running.load(std::memory_order_acquire)};
            // A worker clears its journal before it claims, and claims one at a time.
            const bool in_another = running.bits() != 0 && !ring::same_run(running, word) &&
                                    ring_->word(record.position).bare() == word.bare();
            return in_another ? "its worker is in another" : nullptr;
        }
        case ring::state::done:
            return word.owner() != 0 && word.owner() <= held_results_.size()
                       ? nullptr
                       : "no worker has ended it";
        default:
            return "nobody has given it that state";
    }
}

// The task ends with an error, at once: which of its words was true is not known any more. Whoever
// is in it has its grace to leave, and may write to the slot until then.
void pool_core::end_damaged(task_record& record, ring::slot_word word, const char* why) {
    ring::slot_word run = ring::slot_word::ready(record.position, record.attempt);
    process::worker_entry* runner = nullptr;
    for (process::worker_entry& each : roster_.all()) {
        if (!roster_.is_alive(each.seat)) continue;
        const ring::slot_word running{
            control_->journal_of(each.seat).running.load(std::memory_order_acquire)};
        if (ring::same_run(running, run)) runner = &each;
    }
    run = run.with(ring::state::claimed).with_owner(runner != nullptr ? runner->seat + 1 : 0);
    const std::uint64_t seen = word.bits();
    if (!ring_->change(record.position, word, run.with(ring::state::lost))) return;  // next time
    if (!record.failure) {
        record.failure = overwritten(record);
        ++tallies_.failed;
    }
    // Whether somebody waits or watches is not known any more either.
    base::futex_wake(ring_->at(record.position).futex(), 1 << 20);
    ring_->announce();
    signal_event();
    note_damage("the word of task " + std::to_string(record.position) + " (" + why + ")", seen);
    if (runner != nullptr) condemn(*runner, run, killer::pool);
}

std::exception_ptr pool_core::overwritten(const task_record& record) {
    return std::make_exception_ptr(
        decode_error("task " + std::to_string(record.position) +
                     ": its slot was overwritten by a worker gone wild"));
}

std::exception_ptr pool_core::not_a_result(const task_record& record, const char* why,
                                           std::uint64_t seen) {
    note_damage("the result of task " + std::to_string(record.position) + " (" + why + ")", seen);
    return std::make_exception_ptr(
        decode_error("result of task " + std::to_string(record.position) + ": " + why));
}

// One that was stopped between its claim and the beginning would keep the task for ever, and one in
// whose name somebody else has claimed it knows nothing of it. Either way it has not begun, so it
// runs elsewhere once the worker is gone.
void pool_core::look_at_claim(const task_record& record, ring::slot_word word,
                              base::time_point now) {
    process::worker_entry& worker = roster_.at(word.owner() - 1);
    if (control_->journal_of(worker.seat).running.load(std::memory_order_acquire) != 0) return;
    if (!ring::same_run(worker.unbegun, word)) {
        worker.unbegun = word;
        worker.unbegun_since = now;
        return;
    }
    const bool timed = record.timeout.count() > 0;
    const auto held = now - worker.unbegun_since;
    if (timed ? held >= std::max<base::nanoseconds>(record.timeout, std::chrono::seconds(1))
              : held >= patience_with(worker.pid)) {
        kill_worker(worker, timed ? killer::timeout : killer::pool);
    }
}

// True when tasks wait or run.
bool pool_core::look_at_words(base::time_point now) {
    bool busy = false;
    std::uint64_t oldest = 0;
    std::uint64_t left = in_ring_;
    // From the newest: most of the time the tasks in the ring are its newest few.
    for (std::uint64_t back = 1; back <= records_.size() && left > 0; ++back) {
        task_record& record = record_at(next_position_ - back);
        if (!record.in_use) continue;
        --left;
        if (record.quarantined || record.runs_here) continue;
        ring::slot_word word = ring_->word(record.position);
        if (word.is_low() && !record.is_low && is_of(record, word)) {
            note_damage("the word of task " + std::to_string(record.position), word.bits());
            if (ring_->change(record.position, word, word.with_low(false)))
                word = word.with_low(false);
        }
        if (const char* const why = what_is_wrong(record, word)) {
            end_damaged(record, word, why);
            continue;
        }
        if (word.is_terminal()) continue;
        busy = true;
        if (word.state() == ring::state::claimed) look_at_claim(record, word, now);
        if (word.state() == ring::state::ready && (oldest == 0 || record.position < oldest - 1))
            oldest = record.position + 1;
    }
    look_at_waiting(oldest);
    return busy;
}

void pool_core::look_at_free_slots() {
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(free_slots_at_a_time, records_.size());
         ++i) {
        const std::uint64_t at = damage_.next_slot++ & slot_mask_;
        if (records_[at].in_use) continue;
        std::uint64_t seen = ring_->at(at).word.load(std::memory_order_relaxed);
        const ring::slot_word word{seen};
        const bool polled =
            word.owner() != 0 && word.owner() <= held_results_.size() &&
            word == ring::slot_word{}.with(ring::state::awaited).with_owner(word.owner());
        if (seen == 0 || polled) continue;
        if (ring_->at(at).word.compare_exchange_strong(seen, 0, std::memory_order_acq_rel)) {
            note_damage("the word of a free slot", seen);
        }
    }
}

// ---- tasks that nobody takes, though somebody could: hints may be lost, truth may not

bool pool_core::is_idle(const process::worker_entry& worker) const noexcept {
    if (worker.phase != process::phase::running || worker.superseded) return false;
    const process::journal& notes = control_->journal_of(worker.seat);
    const process::worker_progress& progress = control_->progress_of(worker.seat);
    return !worker.seen_running && notes.running.load(std::memory_order_relaxed) == 0 &&
           notes.counts.count.load(std::memory_order_relaxed) == worker.tasks_seen &&
           notes.turn.load(std::memory_order_relaxed) != process::has_left &&
           progress.begun.load(std::memory_order_relaxed) ==
               progress.done.load(std::memory_order_relaxed);
}

// `oldest`: as in the books.
void pool_core::look_at_waiting(std::uint64_t oldest) {
    auto& head = ring_->shared().head;
    std::uint64_t seen = head.load(std::memory_order_relaxed);
    const std::uint64_t first = oldest != 0 ? oldest - 1 : next_position_;
    // Nothing waits before `first`, and nothing is published while we hold the mutex: workers need
    // not walk there from far behind.
    if (seen < first && first - seen > records_.size()) {
        head.compare_exchange_strong(seen, first, std::memory_order_seq_cst);
    }
    const bool same = oldest != 0 && oldest == std::exchange(damage_.oldest, oldest);
    const auto idle = [this](const process::worker_entry& each) { return is_idle(each); };
    if (!same || paused_ || std::none_of(roster_.all().begin(), roster_.all().end(), idle)) {
        damage_.looks_in_vain = 0;
        return;
    }
    // Of low priority, and its place in the queue is lost: then it goes with the others.
    ring::slot_word word = ring_->word(first);
    if (word.is_low()) static_cast<void>(ring_->change(first, word, word.with_low(false)));
    ring_->look_again(first);
    wake_all_workers();
    // Twice as long as one that has claimed: each may have gone to sleep just before.
    const base::nanoseconds waited = ++damage_.looks_in_vain * damage_books::interval;
    for (process::worker_entry& each : roster_.all()) {
        if (!is_idle(each) || waited / 2 < patience_with(each.pid)) continue;
        kill_worker(each, killer::pool);
        damage_.looks_in_vain = 0;
    }
}

// ---- who did it

void pool_core::judge_suspects() {
    std::vector<process::worker_entry*> suspects;
    for (process::worker_entry& each : roster_.all()) {
        if (each.phase != process::phase::running) continue;
        const process::journal& notes = control_->journal_of(each.seat);
        const bool runs = notes.running.load(std::memory_order_relaxed) != 0;
        const std::uint64_t tasks = notes.counts.count.load(std::memory_order_relaxed);
        if (runs || each.seen_running || tasks != each.tasks_seen) {
            suspects.push_back(&each);
        } else {
            each.suspected = false;
        }
        each.seen_running = runs;
        each.tasks_seen = tasks;
    }
    const bool alone = suspects.size() == 1 && damage_.deaths == 0;
    damage_.deaths = 0;
    const bool found = std::exchange(damage_.fresh, false);
    for (process::worker_entry* const each : suspects) {
        const bool again = std::exchange(each->suspected, found);
        if (!found || !(alone || again)) continue;
        each->wild = true;
        kill_worker(*each, killer::pool);
        damage_.lines.push_back("worker " + std::to_string(each->index) +
                                (alone ? " alone" : " each time") +
                                " ran a task meanwhile, and is ended");
    }
}

// ---- the look

void pool_core::begin_looks() noexcept {
    if (damage_.looking.load(std::memory_order_relaxed)) return;
    const lock held{mutex_};
    if (damage_.begin_looks()) wake_monitor();
}

void pool_core::look_for_damage(base::time_point now) {
    if (now < damage_.next_look) return;
    mend_shared();
    for (process::worker_entry& each : roster_.all()) {
        if (roster_.is_alive(each.seat)) look_at_journal(each);
    }
    const bool busy = look_at_words(now);
    look_at_free_slots();
    judge_suspects();
    // Of results that somebody has been told of in vain.
    if (std::any_of(watches_.begin(), watches_.end(),
                    [this](const auto& each) { return is_ready(each.task); })) {
        signal_event();
    }
    const bool used = std::exchange(damage_.submitted, tallies_.submitted) != tallies_.submitted;
    damage_.next_look = now + damage_books::interval;
    if (!busy && !used) damage_.end_looks();
}

}  // namespace prefork::detail

#include "process/worker_loop.hpp"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "codec/exception_codec.hpp"
#include "codec/label_prefix.hpp"
#include "log/log.hpp"
#include "memory/offset.hpp"
#include "prefork/worker.hpp"
#include "process/child_setup.hpp"
#include "process/leave.hpp"
#include "process/task_context.hpp"

namespace prefork::process {
namespace {

worker_loop* current_loop = nullptr;

// After a burst: pages that free blocks keep beyond this go back when nothing has come for this
// long.
constexpr std::uint64_t kept_idle = std::uint64_t{1} << 20;
constexpr std::chrono::milliseconds idle_before_trim{100};

// Thrown through the invoker when there is no memory for a result; never leaves run_task().
struct no_room {
    std::size_t size;
};

}  // namespace

std::optional<unsigned> await_turn(control words, unsigned seat) {
    const auto& turn = words.journal_of(seat).turn;
    auto& bed = words.beds()[seat].wakes;
    for (;;) {
        // The bed is read first: a turn, or the end, that comes after our looks changes it.
        const std::uint32_t seen = bed.load(std::memory_order_acquire);
        if (words.flags().closing.load(std::memory_order_acquire) != 0) return std::nullopt;
        if (turn.load(std::memory_order_acquire) == turn_to_leave) return std::nullopt;
        if (const auto index = turn.load(std::memory_order_acquire); index != 0) {
            base::fail_point::pass("worker.turn_seen");
            return static_cast<unsigned>(index - 1);
        }
        base::futex_wait(&bed, seen, base::never);
    }
}

/// Small results go into the slot, over the arguments; others into the arena.
class worker_loop::slot_sink final : public detail::result_sink {
  public:
    slot_sink(worker_loop& loop, ring::slot& slot) : loop_(loop), slot_(slot) {}

    std::byte* allocate(std::size_t size) override {
        size_ = size;
        if (size <= slot_.payload.size()) return slot_.payload.data();
        block_ = loop_.allocate_result(size);
        if (block_ == nullptr) throw no_room{size};
        return block_;
    }

    /// Describes what allocate() gave, as `kind` or its form for blocks.
    void describe(ring::payload_kind inlined, ring::payload_kind block) noexcept {
        if (block_ != nullptr) {
            const std::uint64_t offset = loop_.region_->offset_of(block_);
            std::memcpy(slot_.payload.data(), &offset, sizeof offset);
        }
        describe(block_ != nullptr ? block : inlined, size_);
    }
    void describe(ring::payload_kind kind, std::uint64_t size) noexcept {
        // Relaxed: published by the commit.
        // model: run.result
        slot_.description.store(ring::description{size, kind, loop_.refers_}.pack(),
                                std::memory_order_relaxed);
    }
    void withdraw() {
        for (std::byte* const each : loop_.sent_) loop_.results_.withdraw(each);
        loop_.sent_.clear();
        loop_.refers_ = false;
        if (block_ != nullptr) loop_.results_.withdraw(block_);
        block_ = nullptr;
        size_ = 0;
    }

  private:
    worker_loop& loop_;
    ring::slot& slot_;
    std::byte* block_ = nullptr;
    std::size_t size_ = 0;
};

worker_loop::worker_loop(memory::region& shared, control words, ring::ring& tasks,
                         memory::budget& allowed, const worker_loop_options& options)
    : region_(&shared),
      control_(words),
      ring_(&tasks),
      options_(options),
      allowed_(&allowed),
      results_(shared.results(options.seat), allowed, options.seat),
      claimer_(tasks, options.seat + 1),
      journal_(&words.journal_of(options.seat)),
      stops_(words.journal_of(options.seat)) {
    current_loop = this;
}

worker_loop* worker_loop::current() noexcept { return current_loop; }

bool worker_loop::must_leave() const noexcept {
    return control_.flags().closing.load(std::memory_order_acquire) != 0 ||
           journal_->turn.load(std::memory_order_acquire) == turn_to_leave;
}

// The host sets a word and then wakes the bed. seq_cst: asked again after the idle bit is set, or a
// wake that came just before we lay down would be missed.
bool worker_loop::is_called_away() const noexcept {
    const switches& flags = control_.flags();
    return must_leave() || flags.paused.load(std::memory_order_seq_cst) != 0 ||
           flags.trims.load(std::memory_order_seq_cst) != trims_seen_ ||
           flags.broadcasts.load(std::memory_order_seq_cst) != broadcasts_seen_;
}

void worker_loop::attend() {
    trim_if_asked();
    static_cast<void>(run_broadcasts());
    const switches& flags = control_.flags();
    auto& bed = control_.beds()[options_.seat].wakes;
    while (flags.paused.load(std::memory_order_acquire) != 0) {
        // The bed is read first: what is set after our looks changes it. No idle bit, because who
        // publishes need not wake us.
        const std::uint32_t seen = bed.load(std::memory_order_acquire);
        if (must_leave()) return;
        if (flags.paused.load(std::memory_order_acquire) == 0) return;
        base::futex_wait(&bed, seen, base::never);
        trim_if_asked();
        static_cast<void>(run_broadcasts());
    }
}

void worker_loop::run() {
    for (;;) {
        std::optional<ring::claimed_task> task;
        if (is_called_away()) {
            task = claimer_.give_up_reservation();
            if (!task && must_leave()) break;
            if (!task) attend();
        } else {
            task = next_task();
            if (!task) task = sleep();
        }
        if (!task) continue;
        run_task(*task);
        if (options_.max_tasks != 0 && ++ran_ >= options_.max_tasks) break;
    }
    base::fail_point::pass("worker.before_has_left");
    journal_->turn.store(has_left, std::memory_order_release);
}

std::optional<ring::claimed_task> worker_loop::next_task() {
    auto task = claimer_.try_claim();
    if (task || options_.spin.count() == 0) return task;
    if (spin_ticks_ == 0) {
        spin_ticks_ = static_cast<std::uint64_t>(static_cast<double>(options_.spin.count()) /
                                                 scale_.ns_per_tick());
    }
    const std::uint64_t began = base::ticks();
    while (!task && base::ticks_since(began) < spin_ticks_ && !is_called_away()) {
        task = claimer_.poll(64);
    }
    return task;
}

namespace {

/// The result of a broadcast goes nowhere.
class no_sink final : public detail::result_sink {
  public:
    std::byte* allocate(std::size_t size) override {
        bytes_.resize(size + detail::payload_alignment);
        void* at = bytes_.data();
        std::size_t room = bytes_.size();
        return static_cast<std::byte*>(std::align(detail::payload_alignment, size, at, room));
    }

  private:
    std::vector<std::byte> bytes_;
};

}  // namespace

bool worker_loop::in_arguments(std::uint64_t offset) const noexcept {
    const std::span<std::byte> part = region_->arguments();
    const memory::offset call{offset - region_->offset_of(part.data()), sizeof(broadcast_call)};
    return call.within(part, alignof(broadcast_call)).has_value();
}

bool worker_loop::run_broadcasts() {
    const switches& flags = control_.flags();
    worker_progress& progress = control_.progress_of(options_.seat);
    bool all_well = true;
    // Acquire: the call was written before it was counted.
    while (flags.broadcasts.load(std::memory_order_acquire) != broadcasts_seen_) {
        const std::uint64_t offset = last_broadcast_ == nullptr
                                         ? flags.first_broadcast.load(std::memory_order_relaxed)
                                         : last_broadcast_->next.load(std::memory_order_relaxed);
        // Written over: the host will put it right.
        if (!in_arguments(offset)) break;
        last_broadcast_ = reinterpret_cast<const broadcast_call*>(region_->base() + offset);
        const std::uint32_t number = ++broadcasts_seen_;
        progress.begun.store(number, std::memory_order_release);
        base::fail_point::pass("worker.broadcast_begun");
        no_sink nowhere;
        try {
            reinterpret_cast<detail::invoker>(last_broadcast_->function)(
                {reinterpret_cast<const std::byte*>(last_broadcast_ + 1),
                 static_cast<std::size_t>(last_broadcast_->size)},
                nowhere);
        } catch (...) {
            all_well = false;
            const std::string thrown = detail::encode_current_exception(progress.error.size());
            std::memcpy(progress.error.data(), thrown.data(), thrown.size());
            progress.error_bytes.store(static_cast<std::uint32_t>(thrown.size()),
                                       std::memory_order_relaxed);
            progress.failed.store(number, std::memory_order_relaxed);
        }
        // Release: with its error.
        progress.done.store(number, std::memory_order_release);
        base::fail_point::pass("worker.broadcast_done");
        ring_->announce();
    }
    return all_well;
}

std::optional<ring::claimed_task> worker_loop::sleep() {
    const bool warm = !trimmed_ && results_.secured_bytes() > kept_idle;
    const base::time_point until = warm ? base::monotonic::now() + idle_before_trim : base::never;
    auto task = claimer_.park(until, [this] { return is_called_away(); });
    if (task) return task;
    trim_if_asked();
    if (warm && base::monotonic::now() >= until) {
        results_.trim(kept_idle);
        trimmed_ = true;
    }
    return std::nullopt;
}

void worker_loop::trim_if_asked() {
    const std::uint32_t asked = control_.flags().trims.load(std::memory_order_acquire);
    if (asked == trims_seen_) return;
    results_.trim(0);
    base::fail_point::pass("worker.trimmed");
    allowed_->tell(options_.seat);
    note_trimmed(asked);
    control_.hints().room_made.fetch_add(1, std::memory_order_release);
    base::futex_wake(&control_.hints().room_made, base::every_waiter);
}

// Release: who sees it sees that the pages are free.
void worker_loop::note_trimmed(std::uint32_t asked) noexcept {
    trims_seen_ = asked;
    control_.progress_of(options_.seat).trims.store(asked, std::memory_order_release);
}

void worker_loop::note_sent(std::byte* block) {
    if (block != nullptr) sent_.push_back(block);
    refers_ = true;
}

void worker_loop::make_room(std::uint64_t claimed) noexcept {
    ring::hints& shared = control_.hints();
    // seq_cst: the host says that it waits, then looks at what is claimed (wait_for_room).
    std::uint64_t wanted = shared.room_wanted.load(std::memory_order_seq_cst);
    if (wanted == 0 || ring::distance(wanted - 1, claimed) < 0) return;
    // One of us makes the call, and those who claim before the submitters run make none.
    if (!shared.room_wanted.compare_exchange_strong(wanted, 0, std::memory_order_seq_cst)) return;
    base::fail_point::pass("worker.before_room_made");
    shared.room_made.fetch_add(1, std::memory_order_release);
    base::fail_point::pass("worker.before_room_told");
    base::futex_wake(&shared.room_made, base::every_waiter);
}

std::stop_token worker_loop::stop_token() {
    has_token_ = true;
    return stops_.token(ring::slot_word{journal_->running.load(std::memory_order_relaxed)});
}

void worker_loop::extend(base::nanoseconds by) noexcept {
    has_extended_ = true;
    const std::int64_t before = journal_->extended.load(std::memory_order_relaxed);
    journal_->extended.store(before + by.count(), std::memory_order_relaxed);
}

void worker_loop::set_label(std::string_view label) noexcept {
    label_ = label;
    logging::set_label(label);
    name_process(label.empty() ? std::string_view{options_.name} : label);
}

bool worker_loop::commit(const ring::claimed_task& task) noexcept {
    const ring::commit_result committed = ring_->commit(task.position, task.word);
    base::fail_point::pass("worker.committed");
    if (committed == ring::commit_result::watched) {
        base::fail_point::pass("worker.before_event");
        const std::uint64_t one = 1;
        static_cast<void>(!::write(options_.event_fd, &one, sizeof one));
    }
    return committed != ring::commit_result::refused;
}

// Its time came while it waited: it never starts.
void worker_loop::expire(const ring::claimed_task& task, slot_sink& sink) {
    sink.describe(ring::payload_kind::expired, 0);
    base::fail_point::pass("worker.expired");
    const std::uint64_t waited = base::ticks_since(ring_->at(task.position).submitted);
    journal_->counts.note(waited, 0, true);
    if (commit(task)) return;
    journal_->counts.take_back(waited, 0, true);
    // The journal never named it, so no SIGKILL is on the way.
    leave_task(task);
}

// Somebody else has settled it. Release: our last write to the slot comes before the host's next.
void worker_loop::leave_task(const ring::claimed_task& task) noexcept {
    base::fail_point::pass("worker.before_left");
    // model: run.left
    journal_->left.store(task.word.bits(), std::memory_order_release);
    base::fail_point::pass("worker.left");
}

void worker_loop::run_task(const ring::claimed_task& task) {
    base::fail_point::pass("worker.claimed");
    make_room(task.position);
    ring::slot& slot = ring_->at(task.position);
    const auto arguments =
        ring::description::unpack(slot.description.load(std::memory_order_relaxed));
    refers_ = false;
    sent_.clear();
    slot_sink sink{*this, slot};
    if (arguments.timed && base::monotonic::now().time_since_epoch().count() >= slot.due) {
        return expire(task, sink);
    }
    const std::byte* payload = slot.payload.data();
    if (arguments.kind == ring::payload_kind::block) {
        std::uint64_t offset = 0;
        std::memcpy(&offset, slot.payload.data(), sizeof offset);
        payload = region_->base() + offset;
    }
    std::span<const std::byte> bytes{payload, static_cast<std::size_t>(arguments.size)};
    if (arguments.labelled) {
        const detail::label_prefix prefix{bytes};
        bytes = bytes.subspan(prefix.size());
        set_label(prefix.label());
    }
    trimmed_ = false;
    call_task(task, slot, bytes, sink);
    if (arguments.labelled) set_label({});
    if (has_token_) {
        stops_.end();
        has_token_ = false;
    }
    if (has_extended_) {
        journal_->extended.store(0, std::memory_order_relaxed);
        has_extended_ = false;
    }
}

void worker_loop::call_task(const ring::claimed_task& task, ring::slot& slot,
                            std::span<const std::byte> payload, slot_sink& sink) {
    const std::uint64_t submitted = slot.submitted;
    const auto call = reinterpret_cast<detail::invoker>(slot.function);
    task_context context{options_.seed, slot.number};
    const task_context::scope in_task{context};
    const std::uint64_t started = base::ticks();
    journal_->started.store(started, std::memory_order_relaxed);
    base::fail_point::pass("worker.before_journal");
    // Release, and nothing stronger: who reads it after our death sees all our stores anyway, and
    // who reads it before sees a moment of the past.
    // model: run.begin
    journal_->running.store(task.word.bits(), std::memory_order_release);
    base::fail_point::pass("worker.started");
    bool failed = true;
    try {
        call(payload, sink);
        sink.describe(ring::payload_kind::inlined, ring::payload_kind::block);
        failed = false;
    } catch (const no_room& none) {
        sink.withdraw();
        sink.describe(ring::payload_kind::no_memory, none.size);
    } catch (const abi::__forced_unwind&) {
        // This thread is to end, and is all that the worker has. The handler must not be left.
        try {
            throw std::logic_error("the task called pthread_exit(), or was cancelled as a thread");
        } catch (...) {
            sink.withdraw();
            describe_exception(sink);
        }
        finish(task, sink, started, submitted, true);
        leave(0);
    } catch (...) {
        sink.withdraw();
        describe_exception(sink);
    }
    finish(task, sink, started, submitted, failed);
}

// The one in flight, as the task's result.
void worker_loop::describe_exception(slot_sink& sink) {
    const std::string thrown = detail::encode_current_exception(options_.exception_bytes);
    try {
        if (!thrown.empty())
            std::memcpy(sink.allocate(thrown.size()), thrown.data(), thrown.size());
        sink.describe(ring::payload_kind::exception, ring::payload_kind::exception_block);
    } catch (const no_room&) {
        sink.describe(ring::payload_kind::exception, 0);  // no memory even for its message
    }
}

void worker_loop::finish(const ring::claimed_task& task, slot_sink& sink, std::uint64_t started,
                         std::uint64_t submitted, bool failed) {
    const std::uint64_t ran = base::ticks_since(started);
    // For the label's statistics.
    if (!label_.empty()) ring_->at(task.position).due = static_cast<std::int64_t>(ran);
    // Before the commit: once the caller has its answer, stats() counts it.
    const std::uint64_t waited = started > submitted ? started - submitted : 0;
    journal_->counts.note(waited, ran, failed);
    base::fail_point::pass("worker.before_commit");
    const bool committed = commit(task);
    if (committed && !options_.has_memory_limit) {
        // Relaxed: only the host's wish to kill a late worker looks at it, and it checks the task's
        // word first.
        // model: run.end
        journal_->running.store(0, std::memory_order_relaxed);
        return;
    }
    if (!committed) {
        // Somebody else has settled the task, and counted it.
        journal_->counts.take_back(waited, ran, failed);
        sink.withdraw();
    }
    // If the host has condemned us for it, its SIGKILL is on the way; else say that we have left
    // the task, and go on. What is neither, somebody has written there.
    std::uint64_t mine = task.word.bits();
    const std::uint64_t condemned = task.word.with(ring::state::lost).bits();
    // model: run.refused
    while (!journal_->running.compare_exchange_strong(mine, 0, std::memory_order_acq_rel)) {
        while (mine == condemned) ::pause();  // a signal may end it, and is not that one
    }
    if (!committed) leave_task(task);
}

}  // namespace prefork::process

namespace prefork {

bool this_worker::stop_requested() noexcept {
    const auto* const here = process::worker_loop::current();
    return here != nullptr && here->stop_requested();
}

void this_worker::extend(std::chrono::nanoseconds by) noexcept {
    if (auto* const here = process::worker_loop::current()) here->extend(by);
}

std::stop_token detail::task_stop_token() {
    auto* const here = process::worker_loop::current();
    return here != nullptr ? here->stop_token() : std::stop_token{};
}

}  // namespace prefork

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "codec/label_prefix.hpp"
#include "pool/core.hpp"
#include "pool/shared_block.hpp"
#include "prefork/error.hpp"
#include "process/identity.hpp"

// From a call to a published slot, and what happens when there is no room.

namespace prefork::detail {
namespace {

static_assert(static_cast<int>(priority::low) == static_cast<int>(ring::priority::low) &&
              static_cast<int>(priority::high) == static_cast<int>(ring::priority::high));

std::size_t label_size(const std::shared_ptr<const std::string>& label) {
    return label != nullptr ? label_prefix{*label}.size() : 0;
}

}  // namespace

ticket pool_core::submit(const call& what, const call_options& how) {
    if (how.label) check_label(*how.label);
    // A task that uses a pool runs what it submits itself: it can't wait for its own worker.
    if (is_inherited_by_worker()) return run_inline(what, how);
    host_mark_.require(options_.name);
    std::vector<adopted> adoptions;  // let go of after the mutex
    lock held{mutex_};
    check_open();
    if (inline_only_ || how.here) return held.unlock(), run_inline(what, how);
    check_function(what);
    if (!abandoned_.empty()) sweep_abandoned();
    std::optional<std::uint64_t> position;
    for (;;) {
        memory::block arguments;
        position = find_room(held, what, how, arguments);
        if (!position) return held.unlock(), run_inline(what, how);
        if (publish(*position, what, how, arguments, adoptions)) break;
        if (arguments) arguments_->release(arguments);
        if (!copy_adopted(held, how, adoptions)) return held.unlock(), run_inline(what, how);
    }
    bool sooner = how.timeout.count() > 0 && note_timeout(how.timeout);
    if (how.deadline < next_due_) {
        next_due_ = how.deadline;
        sooner |= how.deadline < planned_look_;
    }
    if (sooner) wake_monitor();
    return {*position};
}

std::optional<ticket> pool_core::try_submit(const call& what, call_options how) noexcept {
    how.never_waits = true;
    outcome failed;
    try {
        return submit(what, how);
    } catch (const queue_full&) {
        return std::nullopt;
    } catch (...) {
        failed.failure_ = std::current_exception();
    }
    return keep_outcome(std::move(failed), 0, 0);
}

void pool_core::check_label(const std::string& label) {
    if (label.size() <= longest_label) return;
    throw std::invalid_argument("prefork::task_options::label has " + std::to_string(label.size()) +
                                " bytes: at most " + std::to_string(longest_label));
}

// A position, and memory for arguments that don't fit into the slot; nothing when the caller is to
// run the task.
inline std::optional<std::uint64_t> pool_core::find_room(lock& held, const call& what,
                                                         const call_options& how,
                                                         memory::block& arguments) {
    const overflow when_full = overflow_of(how);
    const std::size_t size = label_size(how.label) + what.size;
    if (size > ring::inline_payload_bytes) {
        arguments = allocate_arguments(held, size, when_full);
        if (!arguments) return std::nullopt;
    }
    std::optional<std::uint64_t> position;
    try {
        position = acquire_position(held, when_full);
    } catch (...) {
        if (arguments) arguments_->release(arguments);
        throw;
    }
    if (!position && arguments) arguments_->release(arguments);
    return position;
}

inline overflow pool_core::overflow_of(const call_options& how) const noexcept {
    return how.never_waits ? overflow::fail : options_.when_full;
}

// Arrays of inline runs and of other pools, into the part that this pool's workers see. False when
// the caller is to run the task.
bool pool_core::copy_adopted(lock& held, const call_options& how, std::vector<adopted>& adoptions) {
    for (adopted& each : adoptions) {
        if (each.copy.data() != nullptr) continue;
        const std::size_t bytes = each.from.bytes();
        const memory::block made = allocate_arguments(held, bytes, overflow_of(how));
        if (!made) return false;
        blocks_out_.fetch_add(1, std::memory_order_relaxed);
        each.copy = own_argument(*this, made, bytes);
        if (bytes != 0) std::memcpy(made.data, each.from.data(), bytes);
    }
    return true;
}

// False, and nothing is done, when an array has to be copied first.
inline bool pool_core::publish(std::uint64_t position, const call& what, const call_options& how,
                               const memory::block& arguments, std::vector<adopted>& adoptions) {
    ring::slot& slot = ring_->at(position);
    task_record& record = record_at(position);
    const std::size_t prefix = label_size(how.label);
    // Nothing below throws.
    {
        const exchange sending{this, &record.attachments, &adoptions};
        const std::size_t copied = adoptions.size();
        std::byte* const to = arguments ? arguments.data : slot.payload.data();
        if (prefix != 0) label_prefix{*how.label}.write(to);
        what.write(what.encoder, to + prefix);
        if (adoptions.size() != copied) return record.attachments.clear(), false;
    }
    record.position = position;
    // model: submit.record
    record.in_use = true;
    record.abandoned = false;
    record.retries_left = how.retries;
    record.lost_runs = 0;
    record.attempt = 0;
    record.function = reinterpret_cast<std::uint64_t>(what.function);
    record.code = reinterpret_cast<std::uint64_t>(what.code);
    record.size = prefix + what.size;
    record.timeout = how.timeout;
    record.deadline = how.deadline;
    record.label = how.label;
    record.number = take_numbers(how.items);
    record.arguments = arguments;
    argument_bytes_ += arguments.size;
    if (!arguments) std::memcpy(record.kept.data(), slot.payload.data(), record.size);
    fill_slot(record, slot);
    ++in_ring_;
    ++tallies_.submitted;
    base::fail_point::pass("submit.filled");
    next_position_ = position + 1;
    attention_.store(ring_->publish(position, static_cast<ring::priority>(how.priority)),
                     std::memory_order_relaxed);
    record.is_low = how.priority == priority::low;
    return true;
}

void pool_core::fill_slot(const task_record& record, ring::slot& slot) {
    slot.function = record.function;
    slot.submitted = base::ticks();
    slot.number = record.number;
    slot.due = record.deadline.time_since_epoch().count();
    auto kind = ring::payload_kind::inlined;
    if (record.arguments) {
        const std::uint64_t offset = region_->offset_of(record.arguments.data);
        std::memcpy(slot.payload.data(), &offset, sizeof offset);
        kind = ring::payload_kind::block;
    }
    // Relaxed: the publication orders it.
    const ring::description arguments{.size = record.size,
                                      .kind = kind,
                                      .labelled = record.label != nullptr,
                                      .timed = record.deadline != base::never};
    slot.description.store(arguments.pack(), std::memory_order_relaxed);
}

void pool_core::check_function(const call& what) {
    const auto entry = reinterpret_cast<std::uintptr_t>(what.function);
    const auto code = reinterpret_cast<std::uintptr_t>(what.code);
    if (functions_->knows(entry) && (code == 0 || functions_->knows(code))) return;
    throw unknown_function(
        "pool '" + options_.name +
        "': the function lies in a library that was loaded after the workers were "
        "forked");
}

void pool_core::throw_not_open() const {
    if (!broken_.empty()) throw pool_broken(broken_);
    throw pool_closed("pool '" + options_.name + "' was shut down");
}

// The head is a hint, and good enough for a limit that is there to bound memory. Workers write to
// it with every task, so that its line takes as long to come as a task takes; it is looked at only
// when the limit seems to be reached.
inline bool pool_core::queue_is_full() noexcept {
    if (next_position_ - head_seen_ < options_.queue_limit) return false;
    const std::uint64_t head = ring_->shared().head.load(std::memory_order_relaxed);
    const bool is_ahead = ring::distance(next_position_, head) >= 0;
    head_seen_ = is_ahead ? next_position_ : head;
    return next_position_ - head_seen_ >= options_.queue_limit;
}

inline std::optional<std::uint64_t> pool_core::free_position() {
    if (queue_is_full()) return std::nullopt;
    for (std::uint64_t tried = 0; tried <= slot_mask_; ++tried) {
        const std::uint64_t position = next_position_ + tried;
        task_record& record = record_at(position);
        // model: submit.find_room
        if (!record.in_use) return position;
        const ring::slot_word word = ring_->word(record.position);
        if (word.is_terminal()) {
            harvest(record, word);
            // Not free yet when its late worker may still write to it.
            if (!record.in_use) return position;
        }
        // What lies here is as old as the ring is long. If it still waits, so does everything after
        // it.
        // model: submit.skip
        if (word.state() == ring::state::ready) return std::nullopt;
    }
    return std::nullopt;
}

inline std::optional<std::uint64_t> pool_core::acquire_position(lock& held, overflow when_full) {
    for (;;) {
        if (const auto position = free_position()) return position;
        switch (when_full) {
            case overflow::fail:
                throw queue_full("pool '" + options_.name +
                                 "': " + std::to_string(options_.queue_limit) +
                                 " tasks wait (queue_limit)");
            case overflow::run_inline:
                return std::nullopt;
            case overflow::wait:
                wait_for_room(held);
        }
    }
}

void pool_core::wait_for_room(lock& held) {
    const inside here{*this};
    ring::hints& shared = ring_->shared();
    ++room_waiters_;
    // Woken for one place, we would fill it and sleep again: two system calls a task.
    const std::uint64_t enough = std::max<std::uint64_t>(options_.queue_limit / 4, 1);
    shared.room_wanted.store(next_position_ - options_.queue_limit + enough,
                             std::memory_order_seq_cst);
    const std::uint32_t seen = shared.room_made.load(std::memory_order_seq_cst);
    // Once more, now that workers can see that we wait: one may have claimed in between.
    if (!free_position()) {
        held.unlock();
        // In slices: a worker that scribbles over the word must not put us to sleep for ever.
        const base::time_point look = base::monotonic::now() + longest_sleep;
        base::futex_wait(&shared.room_made, seen, look);
        held.lock();
        if (base::monotonic::now() >= look && damage_.begin_looks()) wake_monitor();
    }
    if (--room_waiters_ == 0) shared.room_wanted.store(0, std::memory_order_relaxed);
    check_open();
}

// They find the pool broken, or closed.
void pool_core::wake_room_waiters() noexcept {
    ring_->shared().room_made.fetch_add(1, std::memory_order_seq_cst);
    base::futex_wake(&ring_->shared().room_made, base::every_waiter);
}

memory::block pool_core::allocate_array(std::size_t bytes) {
    require_host();
    lock held{mutex_};
    check_open();
    if (inline_only_) return require_budget_for(bytes), memory::block{};
    const memory::block made = allocate_arguments(held, bytes, overflow::wait);
    std::memset(made.data, 0, bytes);
    blocks_out_.fetch_add(1, std::memory_order_relaxed);
    return made;
}

void pool_core::release_argument(const memory::block& block) noexcept {
    if (!host_mark_.is_here()) return;  // the copy of an array in a process that the user forked
    {
        const std::lock_guard held{graveyard_mutex_};
        graveyard_.push_back(block);
    }
    drop_block();
}

void pool_core::bury() {
    const std::lock_guard held{graveyard_mutex_};
    for (const memory::block& each : graveyard_) arguments_->release(each);
    graveyard_.clear();
}

// Sleeping workers keep the pages of their last results, which count against the budget.
void pool_core::ask_workers_to_trim(lock& held) {
    const inside here{*this};
    mend_shared();  // perhaps a sum is a lie
    const std::uint32_t asked = control_->flags().trims.fetch_add(1, std::memory_order_seq_cst) + 1;
    for (const process::worker_entry& each : roster_.all()) {
        if (roster_.is_alive(each.seat)) ring_->beds().wake_seat(each.seat);
    }
    // A dead one's pages are given back as its death is settled, which bumps the word, too.
    const auto has_trimmed = [this, asked](const process::worker_entry& each) {
        const std::uint32_t trims =
            control_->progress_of(each.seat).trims.load(std::memory_order_acquire);
        return each.phase != process::phase::running ||
               static_cast<std::int32_t>(trims - asked) >= 0;
    };
    // As long as a result would wait. Only one that is stopped, or in a task that was given up,
    // takes that long.
    const base::time_point deadline = base::monotonic::now() + longest_wait_for_room;
    std::atomic<std::uint32_t>& done = ring_->shared().room_made;
    while (base::monotonic::now() < deadline) {
        const std::uint32_t seen = done.load(std::memory_order_seq_cst);
        const auto& all = roster_.all();
        if (std::all_of(all.begin(), all.end(), has_trimmed)) break;
        held.unlock();
        base::futex_wait(&done, seen, deadline);
        held.lock();
    }
    check_open();
}

memory::block pool_core::allocate_arguments(lock& held, std::size_t bytes, overflow when_full) {
    bool asked_workers = false;
    for (;;) {
        bury();
        // What waits leaves room for the results of what runs.
        const bool leaves_room =
            in_ring_ == 0 ||
            bytes <= budget_->limit() / 2 - std::min(budget_->limit() / 2, argument_bytes_);
        if (leaves_room) {
            if (const memory::block made = arguments_->allocate(bytes)) return made;
        }
        const int error = leaves_room ? arguments_->error() : EDQUOT;
        const std::string size = std::to_string(bytes);
        require_budget_for(bytes);
        // What has ended gives its arguments back when it is collected or swept; if nothing is left
        // that could, waiting would be for ever.
        if (harvest_all()) continue;
        if (when_full == overflow::run_inline) return {};
        if (when_full == overflow::fail) {
            throw queue_full("pool '" + options_.name + "': no room for arguments of " + size +
                             " bytes in the memory budget of " + std::to_string(budget_->limit()));
        }
        if (in_ring_ == 0 && !asked_workers) {
            asked_workers = true;
            ask_workers_to_trim(held);
            continue;
        }
        if (in_ring_ == 0) {
            throw payload_too_large("no room for arguments of " + size +
                                    " bytes: " + std::strerror(error == EDQUOT ? ENOSPC : error) +
                                    ", and results that were not released hold " +
                                    std::to_string(budget_->taken()) + " of " +
                                    std::to_string(budget_->limit()) + " bytes");
        }
        wait_for_oldest(held);
    }
}

bool pool_core::note_timeout(std::chrono::nanoseconds timeout) {
    ++timed_tasks_;
    if (timeout >= shortest_timeout_) return false;
    shortest_timeout_ = timeout;
    return true;
}

}  // namespace prefork::detail

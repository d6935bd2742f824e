#include <csignal>
#include <cstring>
#include <new>
#include <string>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "base/system_call.hpp"
#include "codec/exception_codec.hpp"
#include "pool/core.hpp"
#include "pool/shared_block.hpp"
#include "prefork/error.hpp"

// A call that every worker runs once: a list in the part of the region that workers only read,
// which grows at its end and is kept, because workers to come run all of it before their first
// task.

namespace prefork::detail {

void pool_core::broadcast(const call& what) {
    require_host();
    if (inline_only_) {
        const ticket here = run_inline(what, {});
        if (const outcome result = take(here); result.failure()) {
            std::rethrow_exception(result.failure());
        }
        return;
    }
    lock held{mutex_};
    check_open();
    check_function(what);
    const inside here{*this};
    append_broadcast(held, what);
    const auto number = static_cast<std::uint32_t>(broadcasts_.size());
    struct awaited {
        unsigned seat;
        pid_t pid;
    };
    std::vector<awaited> workers;
    for (const process::worker_entry& each : roster_.all()) {
        if (each.phase == process::phase::running && !each.superseded) {
            workers.push_back({each.seat, each.pid});
        }
    }
    std::exception_ptr first_error;
    for (const auto& [seat, pid] : workers) {
        const std::exception_ptr error = wait_for_broadcast(held, seat, pid, number);
        if (!first_error) first_error = error;
    }
    held.unlock();
    if (first_error) std::rethrow_exception(first_error);
}

void pool_core::append_broadcast(lock& held, const call& what) {
    // May wait without the mutex, while another thread appends its own.
    const memory::block block =
        allocate_arguments(held, sizeof(process::broadcast_call) + what.size, overflow::wait);
    try {
        broadcasts_.push_back({block, {}});
    } catch (...) {
        arguments_->release(block);
        throw;
    }
    kept_broadcast& kept = broadcasts_.back();
    auto* const made = new (kept.block.data) process::broadcast_call{};
    made->function = reinterpret_cast<std::uint64_t>(what.function);
    made->size = what.size;
    {
        const exchange sending{this, &kept.attachments};
        what.write(what.encoder, reinterpret_cast<std::byte*>(made + 1));
    }
    process::switches& flags = control_->flags();
    const std::uint64_t offset = region_->offset_of(kept.block.data);
    auto& link = last_broadcast_ != nullptr ? last_broadcast_->next : flags.first_broadcast;
    // Relaxed: counted below, by which workers find it.
    link.store(offset, std::memory_order_relaxed);
    last_broadcast_ = made;
    // seq_cst: before the wakes, see worker_loop::is_called_away().
    flags.broadcasts.store(static_cast<std::uint32_t>(broadcasts_.size()),
                           std::memory_order_seq_cst);
    base::fail_point::pass("broadcast.counted");
    wake_all_workers();
}

// What the call threw there, or nothing. A worker that ends or leaves first has a successor that
// runs it as it starts.
std::exception_ptr pool_core::wait_for_broadcast(lock& held, unsigned seat, pid_t pid,
                                                 std::uint32_t number) {
    const process::worker_progress& progress = control_->progress_of(seat);
    base::time_point began = base::never;
    for (;;) {
        // The count is read before the look: what is done after it changes it.
        auto& count = ring_->shared().completions;
        const std::uint32_t seen = count.load(std::memory_order_acquire);
        const std::uint32_t done = progress.done.load(std::memory_order_acquire);
        if (static_cast<std::int32_t>(done - number) >= 0) {
            if (progress.failed.load(std::memory_order_relaxed) != number) return nullptr;
            return broadcast_error(progress);
        }
        process::worker_entry& worker = roster_.at(seat);
        if (!roster_.is_alive(seat) || worker.pid != pid || worker.superseded || stopping_) {
            return nullptr;
        }
        const base::time_point now = base::monotonic::now();
        // One that runs a task comes to it later; one that runs nothing, and doesn't, is stopped.
        const bool in_task =
            control_->journal_of(seat).running.load(std::memory_order_relaxed) != 0 &&
            progress.begun.load(std::memory_order_relaxed) != number;
        if (in_task) {
            began = base::never;
        } else if (began == base::never) {
            began = now;
        } else if (now - began > options_.worker_start_timeout) {
            kill_worker(worker, killer::timeout);
            return std::make_exception_ptr(
                task_timeout("a broadcast took longer than worker_start_timeout in worker " +
                             std::to_string(worker.index)));
        }
        held.unlock();
        base::futex_wait(&count, seen, now + longest_sleep);
        held.lock();
    }
}

std::exception_ptr pool_core::broadcast_error(const process::worker_progress& progress) {
    std::array<std::byte, sizeof progress.error> bytes = progress.error;
    const std::size_t size =
        std::min<std::size_t>(progress.error_bytes.load(std::memory_order_relaxed), bytes.size());
    return decode_exception({bytes.data(), size});
}

}  // namespace prefork::detail

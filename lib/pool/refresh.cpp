#include <algorithm>
#include <csignal>
#include <string>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "base/system_call.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"
#include "process/inner_threads.hpp"

// New workers from the host as it is now, while tasks go on: a new fork server and its workers
// start beside the old ones, and only when all of them have is anything taken away. Also what makes
// workers wait, and go on.

namespace prefork::detail {

void pool_core::refresh() {
    require_host();
    if (inline_only_) return;
    const std::lock_guard one_at_a_time{refresh_mutex_};
    lock held{mutex_};
    check_open();
    const inside here{*this};
    std::unique_ptr<process::fork_server> old = std::move(server_);
    try {
        process::release_inner_threads(inner_threads());
        make_server();
    } catch (...) {
        server_ = std::move(old);
        throw;
    }
    const process::fork_server* const former = old.get();
    if (old) retired_.push_back(std::move(old));
    base::fail_point::pass("refresh.server_made");
    refreshing_ = true;
    first_start_failure_.clear();
    first_start_crash_.reset();
    const std::string why = start_second_set(held);
    refreshing_ = false;
    if (!why.empty()) {
        // Of the second set, also those whose server is gone already.
        dismiss(server_.get());
        for (const auto& each : retired_) {
            if (each.get() != former) dismiss(each.get());
        }
        const auto at = std::find_if(retired_.begin(), retired_.end(),
                                     [&](const auto& each) { return each.get() == former; });
        // The former may have been killed meanwhile; then the monitor makes another.
        if (at != retired_.end()) std::swap(server_, *at);
        want_missing_workers();
        wake_monitor();
        const auto crash = std::exchange(first_start_crash_, std::nullopt);
        held.unlock();
        throw worker_start_failed("pool '" + options_.name + "': refresh: " + why +
                                  (crash ? process::describe_place(*crash) : ""));
    }
    base::fail_point::pass("refresh.second_set_started");
    dismiss(former);
    base::fail_point::pass("refresh.dismissed");
    wait_for_last_claims(held, former);
    // Every worker that may claim from now on is of the new image.
    functions_.emplace();
    want_missing_workers();
    roster_.want(roster_.workers(), true, base::monotonic::now());  // the spare
    wake_monitor();
}

// Workers of both sets may have ended meanwhile.
void pool_core::want_missing_workers() {
    const base::time_point now = base::monotonic::now();
    for (unsigned index = 0; index < roster_.workers(); ++index) {
        const bool has_one = std::any_of(
            roster_.all().begin(), roster_.all().end(), [&](const process::worker_entry& each) {
                return roster_.is_alive(each.seat) && !each.superseded && each.index == index;
            });
        roster_.want(index, !has_one, now);
    }
}

// A worker of the new server for each index, all of them started; or why not.
std::string pool_core::start_second_set(lock& held) {
    const base::time_point began = base::monotonic::now();
    const base::time_point end = base::deadline_after(began, options_.worker_start_timeout);
    std::vector<unsigned> seats;
    for (unsigned index = 0; index < roster_.workers(); ++index) {
        const auto seat = roster_.begin_start(index, began);
        if (!seat) return "results of former workers hold every seat: fetch or drop them first";
        seats.push_back(*seat);
        reset_seat(*seat);
        roster_.at(*seat).server = server_.get();
        if (!server_->fork_worker(*seat, index)) return "its fork server ended";
    }
    wake_monitor();
    const auto is = [this](process::phase phase) {
        return [this, phase](unsigned seat) { return roster_.at(seat).phase == phase; };
    };
    while (!std::all_of(seats.begin(), seats.end(), is(process::phase::running))) {
        const bool failed = std::any_of(seats.begin(), seats.end(), [&](unsigned seat) {
            return !roster_.is_alive(seat) || roster_.at(seat).server != server_.get();
        });
        if (failed || stopping_ || base::monotonic::now() >= end) {
            if (!first_start_failure_.empty()) return first_start_failure_;
            return failed ? "a worker ended before it had started"
                          : "on_worker_start took longer than worker_start_timeout";
        }
        started_or_ended_.wait_for(held, longest_sleep);
    }
    return {};
}

// The workers of `server` leave, after what they run.
void pool_core::dismiss(const process::fork_server* server) {
    for (process::worker_entry& each : roster_.all()) {
        if (!roster_.is_alive(each.seat) || each.server != server || each.superseded) continue;
        roster_.supersede(each.seat);
        control_->journal_of(each.seat).turn.store(process::turn_to_leave,
                                                   std::memory_order_release);
        ring_->beds().wake_seat(each.seat);
    }
}

// With the mutex held nothing is published, so what they claim now is old. One that runs a task
// looks at its turn before it claims another.
void pool_core::wait_for_last_claims(lock&, const process::fork_server* server) {
    const base::time_point end = base::monotonic::now() + std::chrono::seconds(1);
    for (process::worker_entry& each : roster_.all()) {
        if (!roster_.is_alive(each.seat) || each.server != server || roster_.is_spare(each))
            continue;
        const process::journal& notes = control_->journal_of(each.seat);
        while (notes.turn.load(std::memory_order_acquire) != process::has_left &&
               notes.running.load(std::memory_order_acquire) == 0 &&
               !base::pidfd_ended(each.pidfd.get())) {
            if (base::monotonic::now() >= end) {  // stopped by a stranger, perhaps
                kill_worker(each, killer::pool);
                break;
            }
            std::this_thread::yield();
        }
    }
}

// The monitor's part: former fork servers end when their last worker has.
void pool_core::look_at_retired() {
    for (auto& each : retired_) {
        while (auto message = each->receive()) handle(std::move(*message));
        if (base::pidfd_ended(each->pidfd())) end_workers_of(each.get());
    }
    std::erase_if(retired_, [this](const auto& server) {
        return std::none_of(roster_.all().begin(), roster_.all().end(), [&](const auto& each) {
            return roster_.is_alive(each.seat) && each.server == server.get();
        });
    });
}

// ---- pause

void pool_core::pause(bool on) {
    require_host();
    if (inline_only_) return;
    const lock held{mutex_};
    check_open();
    paused_ = on;
    control_->flags().paused.store(on ? 1 : 0, std::memory_order_seq_cst);
    wake_all_workers();
}

void pool_core::wake_all_workers() noexcept {
    for (const process::worker_entry& each : roster_.all()) {
        if (roster_.is_alive(each.seat)) ring_->beds().wake_seat(each.seat);
    }
}

}  // namespace prefork::detail

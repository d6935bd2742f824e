#include "process/stop_watch.hpp"

#include <thread>

#include "base/fail_point.hpp"
#include "base/futex.hpp"
#include "base/signal_mask.hpp"
#include "base/system_call.hpp"

namespace prefork::process {
namespace {

bool is_asked(const journal& notes, ring::slot_word run) noexcept {
    const ring::slot_word asked{notes.stop_for.load(std::memory_order_acquire)};
    return ring::same_run(asked, run);
}

}  // namespace

void request_stop(journal& notes, ring::slot_word run) noexcept {
    notes.stop_for.store(run.bits(), std::memory_order_release);
    // Release: whoever sees the count sees what it is for.
    notes.stops.fetch_add(1, std::memory_order_release);
    base::futex_wake(&notes.stops, 1);
}

bool stop_requested(const journal& notes) noexcept {
    const ring::slot_word running{notes.running.load(std::memory_order_relaxed)};
    return running.bits() != 0 && is_asked(notes, running);
}

std::stop_token stop_watch::token(ring::slot_word run) {
    const std::lock_guard held{mutex_};
    if (!watching_) {
        const base::all_signals_blocked no_signals;  // they are the task's thread's
        if (base::fail_point::refused("stop_watch.pthread_create")) {
            base::throw_system_error(errno, "pthread_create for a stop token");
        }
        std::thread{[this] { watch(); }}.detach();
        watching_ = true;
    }
    if (!source_.stop_possible() || !ring::same_run(run_, run)) source_ = std::stop_source{};
    run_ = run;
    // A request that came before the thread looks for this run.
    if (is_asked(*journal_, run)) source_.request_stop();
    return source_.get_token();
}

void stop_watch::end() noexcept {
    const std::lock_guard held{mutex_};
    source_ = std::stop_source{std::nostopstate};
}

std::stop_source stop_watch::asked() noexcept {
    const std::lock_guard held{mutex_};
    const bool ours = source_.stop_possible() && is_asked(*journal_, run_);
    return ours ? source_ : std::stop_source{std::nostopstate};
}

void stop_watch::watch() noexcept {
    for (;;) {
        // The count is read first: a request that comes after our look changes it.
        const std::uint32_t seen = journal_->stops.load(std::memory_order_acquire);
        base::fail_point::pass("stop_watch.before_look");
        asked().request_stop();  // without the lock: callbacks are the user's
        base::futex_wait(&journal_->stops, seen, base::never);
    }
}

}  // namespace prefork::process

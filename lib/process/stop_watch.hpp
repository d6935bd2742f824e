#pragma once

#include <mutex>
#include <stop_token>

#include "process/control.hpp"
#include "ring/slot_word.hpp"

namespace prefork::process {

/// Turns the host's requests to stop into an std::stop_token, in a worker. A thread waits for them
/// from the first task on that asks for a token: a signal handler can't run stop callbacks. They
/// run in that thread.
///
/// Never destroyed: it ends with the worker.
class stop_watch {
  public:
    explicit stop_watch(journal& notes) noexcept : journal_(&notes) {}
    stop_watch(const stop_watch&) = delete;
    stop_watch& operator=(const stop_watch&) = delete;

    /// For the task that this worker now runs. \throws std::system_error when there is no thread to
    /// be had
    [[nodiscard]] std::stop_token token(ring::slot_word run);
    /// The task is over: whoever kept its token is asked nothing any more.
    void end() noexcept;

  private:
    [[noreturn]] void watch() noexcept;
    [[nodiscard]] std::stop_source asked() noexcept;

    journal* journal_;
    std::mutex mutex_;
    std::stop_source source_{std::nostopstate};
    ring::slot_word run_;
    bool watching_ = false;
};

/// The host's side: asks `run`, and nothing else, to stop.
void request_stop(journal& notes, ring::slot_word run) noexcept;
/// The worker's: whether the run in its journal is asked to.
[[nodiscard]] bool stop_requested(const journal& notes) noexcept;

}  // namespace prefork::process

#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "process/crash_report.hpp"

namespace prefork::process {

/// A stack trace that was asked for: the caller has its error before the worker has answered, and
/// only whoever reads the trace waits for it. Threads: any.
class pending_trace {
  public:
    /// Once: what the worker said, or that it said nothing.
    void settle(std::optional<crash> answer) {
        {
            const std::lock_guard held{mutex_};
            answer_ = std::move(answer);
            settled_ = true;
        }
        changed_.notify_all();
    }
    /// Waits for settle(), at most a second; empty without an answer.
    [[nodiscard]] std::string text() {
        std::unique_lock held{mutex_};
        changed_.wait_for(held, std::chrono::seconds(1), [this] { return settled_; });
        return answer_ ? symbolise(*answer_) : std::string{};
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool settled_ = false;
    std::optional<crash> answer_;
};

}  // namespace prefork::process

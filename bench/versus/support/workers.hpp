#pragma once

#include <vector>

#include "bench/support/other_process.hpp"

namespace prefork::versus {

/// Worker processes of a channel: each runs `work` on every task that it receives, until there are
/// no more. What a channel is: `receive_task(T&)`, false at the end; `send_answer(const A&)`.
class worker_processes {
  public:
    template <class Task, class ReceiveTask, class Work, class SendAnswer>
    void start(unsigned count, ReceiveTask receive_task, Work work, SendAnswer send_answer) {
        for (unsigned i = 0; i < count; ++i) {
            processes_.emplace_back([&] {
                for (Task todo; receive_task(todo);) send_answer(work(todo));
            });
        }
    }
    /// For channels that each worker opens for itself.
    template <class Serve>
    void start(unsigned count, Serve serve) {
        for (unsigned i = 0; i < count; ++i) processes_.emplace_back(serve);
    }

  private:
    std::vector<bench::other_process> processes_;
};

}  // namespace prefork::versus

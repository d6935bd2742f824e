#pragma once

#include <unistd.h>

#include <cstddef>

#include "bench/versus/support/turn.hpp"
#include "bench/versus/support/whole.hpp"
#include "bench/versus/support/workers.hpp"

namespace prefork::versus {

/// Two pipes: tasks to the workers, which read from the same one, and answers back. What is smaller
/// than PIPE_BUF is written, and so read, whole.
template <class Task, class Answer>
class pipes {
  public:
    /// So many tasks may be under way without anybody waiting for room.
    static constexpr std::size_t window = 256;

    template <class Work>
    pipes(unsigned workers, Work work) {
        if (::pipe(tasks_) != 0 || ::pipe(answers_) != 0) leave_out("no pipe");
        workers_.start<Task>(
            workers, [this](Task& to) { return read_whole(tasks_[0], bytes_of(to)); }, work,
            [this](Answer from) { static_cast<void>(write_whole(answers_[1], bytes_of(from))); });
    }

    void send(Task todo) {
        if (!write_whole(tasks_[1], bytes_of(todo))) wrong_answer("a pipe ends");
    }
    [[nodiscard]] Answer receive() {
        Answer answer;
        if (!read_whole(answers_[0], bytes_of(answer))) wrong_answer("a pipe ends");
        return answer;
    }

  private:
    int tasks_[2];
    int answers_[2];
    worker_processes workers_;
};

}  // namespace prefork::versus

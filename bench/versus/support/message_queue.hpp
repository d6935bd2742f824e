#pragma once

#include <unistd.h>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstddef>
#include <string>

#include "bench/versus/support/turn.hpp"
#include "bench/versus/support/workers.hpp"

namespace prefork::versus {

/// A Boost.Interprocess queue whose name is gone as soon as it is open: who is forked later has it.
class interprocess_queue {
  public:
    interprocess_queue(const std::string& what, std::size_t messages, std::size_t bytes)
        : name_("prefork-versus-" + what + "-" + std::to_string(::getpid())),
          queue_(boost::interprocess::create_only, name_.c_str(), messages, bytes) {
        queue::remove(name_.c_str());
    }

    void put(const void* from, std::size_t bytes) { queue_.send(from, bytes, 0); }
    std::size_t get(void* to, std::size_t bytes) {
        queue::size_type received = 0;
        unsigned priority = 0;
        queue_.receive(to, bytes, received, priority);
        return received;
    }

  private:
    using queue = boost::interprocess::message_queue;
    std::string name_;
    queue queue_;
};

/// Two of them: tasks to the workers, answers back.
template <class Task, class Answer>
class interprocess_queues {
  public:
    /// So many tasks may be under way without anybody waiting for room.
    static constexpr std::size_t window = 256;

    template <class Work>
    interprocess_queues(unsigned workers, Work work)
        : tasks_("tasks", window, sizeof(Task)), answers_("answers", window, sizeof(Answer)) {
        workers_.start<Task>(
            workers, [this](Task& to) { return tasks_.get(&to, sizeof to) == sizeof to; }, work,
            [this](const Answer& from) { answers_.put(&from, sizeof from); });
    }

    void send(const Task& todo) { tasks_.put(&todo, sizeof todo); }
    [[nodiscard]] Answer receive() {
        Answer answer;
        if (answers_.get(&answer, sizeof answer) != sizeof answer) wrong_answer("a queue ends");
        return answer;
    }

  private:
    interprocess_queue tasks_;
    interprocess_queue answers_;
    worker_processes workers_;
};

}  // namespace prefork::versus

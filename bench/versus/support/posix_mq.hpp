#pragma once

#include <fcntl.h>
#include <mqueue.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>

#include "bench/versus/support/turn.hpp"
#include "bench/versus/support/workers.hpp"

namespace prefork::versus {

/// Two POSIX message queues: tasks to the workers, answers back.
template <class Task, class Answer>
class message_queues {
  public:
    /// What Linux allows without privileges (fs.mqueue.msg_max); with more under way than a queue
    /// and the workers hold, host and workers could wait for each other.
    static constexpr std::size_t window = 10;

    template <class Work>
    message_queues(unsigned workers, Work work)
        : tasks_(opened("tasks", sizeof(Task))), answers_(opened("answers", sizeof(Answer))) {
        workers_.start<Task>(
            workers, [this](Task& to) { return got(tasks_, to); }, work,
            [this](const Answer& from) { static_cast<void>(put(answers_, from)); });
    }

    void send(const Task& todo) {
        if (!put(tasks_, todo)) wrong_answer("a queue ends");
    }
    [[nodiscard]] Answer receive() {
        Answer answer;
        if (!got(answers_, answer)) wrong_answer("a queue ends");
        return answer;
    }

  private:
    // Its name is gone as soon as it is open: the workers inherit the descriptor.
    static mqd_t opened(const std::string& what, std::size_t size) {
        const std::string name = "/prefork-versus-" + what + "-" + std::to_string(::getpid());
        mq_attr attributes{};
        attributes.mq_maxmsg = window;
        attributes.mq_msgsize = static_cast<long>(size);
        const mqd_t queue = ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
        if (queue < 0) leave_out("mq_open: " + std::generic_category().message(errno));
        ::mq_unlink(name.c_str());
        return queue;
    }
    template <class T>
    static bool got(mqd_t queue, T& to) {
        return ::mq_receive(queue, reinterpret_cast<char*>(&to), sizeof to, nullptr) == sizeof to;
    }
    template <class T>
    static bool put(mqd_t queue, const T& from) {
        return ::mq_send(queue, reinterpret_cast<const char*>(&from), sizeof from, 0) == 0;
    }

    mqd_t tasks_;
    mqd_t answers_;
    worker_processes workers_;
};

}  // namespace prefork::versus

#pragma once

#include <unistd.h>

#include <cstddef>
#include <string>
#include <zmq.hpp>

#include "bench/versus/support/turn.hpp"
#include "bench/versus/support/workers.hpp"

namespace prefork::versus {

/// ZeroMQ's ventilator and sink, over ipc: tasks pushed to the workers, answers pulled from them.
template <class Task, class Answer>
class zeromq_ipc {
  public:
    /// Below the 1,000 messages that a socket holds by default.
    static constexpr std::size_t window = 256;

    // The workers first: with the first socket a context has threads, which a fork does not copy.
    // They connect to what is bound later.
    template <class Work>
    zeromq_ipc(unsigned workers, Work work) {
        workers_.start(workers, [this, work] { serve(work); });
        tasks_ = zmq::socket_t{context_, zmq::socket_type::push};
        answers_ = zmq::socket_t{context_, zmq::socket_type::pull};
        for (zmq::socket_t* each : {&tasks_, &answers_}) each->set(zmq::sockopt::linger, 0);
        tasks_.bind(address("tasks"));
        answers_.bind(address("answers"));
    }

    void send(const Task& todo) { tasks_.send(zmq::buffer(&todo, sizeof todo)); }
    [[nodiscard]] Answer receive() {
        Answer answer;
        if (!answers_.recv(zmq::buffer(&answer, sizeof answer))) wrong_answer("no message");
        return answer;
    }

  private:
    [[nodiscard]] std::string address(const std::string& what) const {
        return "ipc://@prefork-versus-" + what + "-" + std::to_string(host_);
    }
    template <class Work>
    void serve(Work work) const {
        zmq::context_t context;
        zmq::socket_t tasks{context, zmq::socket_type::pull};
        zmq::socket_t answers{context, zmq::socket_type::push};
        tasks.connect(address("tasks"));
        answers.connect(address("answers"));
        for (Task todo; tasks.recv(zmq::buffer(&todo, sizeof todo));) {
            const Answer answer = work(todo);
            answers.send(zmq::buffer(&answer, sizeof answer));
        }
    }

    pid_t host_ = ::getpid();
    worker_processes workers_;
    zmq::context_t context_;
    zmq::socket_t tasks_;
    zmq::socket_t answers_;
};

}  // namespace prefork::versus

#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>

#include "bench/versus/support/turn.hpp"
#include "bench/versus/support/workers.hpp"

namespace prefork::versus {

/// A pair of Unix sockets that keep messages apart: the host has one end, the workers share the
/// other.
template <class Task, class Answer>
class socket_pair {
  public:
    /// So many tasks may be under way without anybody waiting for room.
    static constexpr std::size_t window = 64;

    template <class Work>
    socket_pair(unsigned workers, Work work) {
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends_) != 0) leave_out("no socket pair");
        workers_.start<Task>(
            workers, [this](Task& to) { return got(ends_[1], to); }, work,
            [this](const Answer& from) { static_cast<void>(put(ends_[1], from)); });
    }

    void send(const Task& todo) {
        if (!put(ends_[0], todo)) wrong_answer("a socket ends");
    }
    [[nodiscard]] Answer receive() {
        Answer answer;
        if (!got(ends_[0], answer)) wrong_answer("a socket ends");
        return answer;
    }

  private:
    template <class T>
    static bool got(int fd, T& to) {
        return ::recv(fd, &to, sizeof to, 0) == sizeof to;
    }
    template <class T>
    static bool put(int fd, const T& from) {
        return ::send(fd, &from, sizeof from, MSG_NOSIGNAL) == sizeof from;
    }

    int ends_[2];
    worker_processes workers_;
};

}  // namespace prefork::versus

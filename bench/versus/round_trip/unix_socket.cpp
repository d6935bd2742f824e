// A pair of Unix sockets that keep messages apart, and one worker process.
#include "bench/versus/support/unix_socket.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    socket_pair<int, int> channel{1, task};
    return measure(argc, argv, [&](int number) {
        channel.send(number);
        return channel.receive();
    });
}

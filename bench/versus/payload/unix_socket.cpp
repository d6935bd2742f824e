// A pair of Unix stream sockets.
#include <sys/socket.h>

#include "stream.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) leave_out("no socket pair");
    const stream worker{{ends[0], ends[0], ends[1], ends[1]}};
    return measure(argc, argv, [&](payload bytes) {
        return [&worker, bytes] { return worker.hand_over(bytes); };
    });
}

// ZeroMQ over ipc: a request and its reply.
#include <unistd.h>

#include <string>
#include <zmq.hpp>

#include "bench/support/other_process.hpp"
#include "workload.hpp"

namespace {

using namespace prefork::versus;

void serve(const std::string& address) {
    zmq::context_t context;
    zmq::socket_t socket{context, zmq::socket_type::rep};
    socket.connect(address);
    for (zmq::message_t request; socket.recv(request);) {
        const std::uint64_t answer = seen({request.data<std::byte>(), request.size()});
        socket.send(zmq::buffer(&answer, sizeof answer));
    }
}

}  // namespace

int main(int argc, char** argv) {
    const std::string address = "ipc://@prefork-versus-payload-" + std::to_string(::getpid());
    // Before the first context: a fork does not copy its threads.
    const prefork::bench::other_process worker{[&] { serve(address); }};
    zmq::context_t context;
    zmq::socket_t socket{context, zmq::socket_type::req};
    socket.set(zmq::sockopt::linger, 0);
    socket.bind(address);
    return measure(argc, argv, [&](payload bytes) {
        return [&socket, bytes] {
            std::uint64_t answer = 0;
            socket.send(zmq::buffer(bytes.data(), bytes.size()));
            static_cast<void>(socket.recv(zmq::buffer(&answer, sizeof answer)));
            return answer;
        };
    });
}

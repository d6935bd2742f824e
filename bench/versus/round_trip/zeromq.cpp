// ZeroMQ over ipc, pushed to one worker process and pulled from it.
#include "bench/versus/support/zeromq.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    zeromq_ipc<int, int> channel{1, task};
    return measure(argc, argv, [&](int number) {
        channel.send(number);
        return channel.receive();
    });
}

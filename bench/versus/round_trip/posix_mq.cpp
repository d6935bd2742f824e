// Two POSIX message queues and one worker process.
#include "bench/versus/support/posix_mq.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    message_queues<int, int> channel{1, task};
    return measure(argc, argv, [&](int number) {
        channel.send(number);
        return channel.receive();
    });
}

// Two pipes, read and written by one worker process.
#include "bench/versus/support/pipe.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    pipes<int, int> channel{1, task};
    return measure(argc, argv, [&](int number) {
        channel.send(number);
        return channel.receive();
    });
}

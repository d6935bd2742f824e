// The limit of those that sleep while they wait: a futex each way between two processes, without a
// task.
#include "bench/limit/futex.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    prefork::bench::futex_hand_over limit;
    return prefork::versus::measure(argc, argv, [&](int number) {
        limit.bounce();
        return prefork::versus::task(number);
    });
}

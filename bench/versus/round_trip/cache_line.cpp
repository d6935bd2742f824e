// The limit: two cache lines that two processes pass back and forth, both spinning, without a task.
#include "bench/limit/cache_line.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
    prefork::bench::cache_line_ping_pong limit;
    return prefork::versus::measure(argc, argv, [&](int number) {
        limit.bounce();
        return prefork::versus::task(number);
    });
}

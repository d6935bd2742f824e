// A pool of one worker.
#include <prefork/pool.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    prefork::pool pool{{.workers = 1}};
    return prefork::versus::measure(
        argc, argv, [&](int number) { return pool.submit(prefork::versus::task, number).get(); });
}

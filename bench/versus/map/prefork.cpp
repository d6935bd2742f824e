// pool::map, a worker a CPU; the caller waits.
#include <prefork/pool.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool;
    return measure(argc, argv,
                   [&](const numbers& items, function each) { return pool.map(items, each); });
}

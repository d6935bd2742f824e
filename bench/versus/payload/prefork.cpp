// A span as an argument: copied once, into memory that the worker reads.
#include <prefork/pool.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool{{.workers = 1}};
    return measure(argc, argv, [&](payload bytes) {
        return [&pool, bytes] { return pool.submit(seen, bytes).get(); };
    });
}

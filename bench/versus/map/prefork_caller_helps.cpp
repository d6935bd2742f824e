// pool::map with a worker less than there are CPUs, and the caller running chunks too.
#include <prefork/pool.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::pool pool{{.workers = std::max(cpus() - 1, 1U)}};
    return measure(argc, argv, [&](const numbers& items, function each) {
        return pool.map(items, each, {.caller_helps = true});
    });
}

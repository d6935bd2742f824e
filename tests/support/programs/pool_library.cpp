#include "prefork/prefork.hpp"

// A library that has a pool of its own, which ends when it is closed. For
// fault/life_at_the_edges_test.cpp.

namespace {

int twice(int x) { return 2 * x; }
int forever() {
    for (volatile int never = 0; never == 0;) {
    }
    return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int ask_pool(int x) {
    static prefork::pool pool{{.workers = 1, .grace = std::chrono::milliseconds(0)}};
    const int answer = pool.submit(twice, x).get();
    static auto running = pool.submit(forever);
    return answer;
}

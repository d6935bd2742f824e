#include <cstdlib>

#include "prefork/prefork.hpp"

// A task whose lines run in a worker only. For process/leave_test.py.

static int only_in_a_worker(int x) {
    int sum = 0;
    for (int i = 0; i < x; ++i) sum += i;  // covered: looped
    if (sum == 10) return 1;               // covered: asked
    return 2;                              // not covered
}

static void leave(int status) { std::exit(status); }

// With an argument, the worker leaves by exit().
int main(int count, char**) {
    prefork::pool pool{{.workers = 1}};
    const int answer = pool.submit(only_in_a_worker, 5).get();
    if (count == 1) return answer - 1;
    try {
        pool.submit(leave, 0).get();
    } catch (const prefork::worker_lost&) {
        return 7;
    }
    return 1;
}

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "prefork/prefork.hpp"

// A host and tasks that print, with nothing flushed by hand. For process/leave_test.py.

static void print(int number) { std::printf("task %d\n", number); }
static void stream(int number) { std::cout << "task " << number << '\n'; }

int main() {
    std::printf("host, before\n");
    {
        prefork::pool pool{{.workers = 1, .on_worker_exit = [] { std::printf("worker, last\n"); }}};
        pool.submit(print, 1).get();
        pool.submit(stream, 2).get();
    }
    {
        prefork::pool pool{{.workers = 1}};
        auto lost = pool.submit([] {
            std::printf("by exit()\n");
            std::exit(0);
        });
        lost.wait();
    }
    std::printf("host, after\n");
    return 0;
}

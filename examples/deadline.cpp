// Time limits: a task that is asked to stop and does, one that hangs, one that comes too late.
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <prefork/prefork.hpp>

namespace pf = prefork;
using namespace std::chrono_literals;

// Stops when it is asked to: its worker, and what that has open, lives on.
int search(std::stop_token stop) {
    int looked_at = 0;
    while (!stop.stop_requested()) ++looked_at;
    return looked_at;
}

int hang() {
    for (;;) ::pause();
}

int main() {
    pf::pool pool{{.workers = 1, .grace = 500ms}};
    const int worker = pool.stats().workers[0].pid;
    try {
        pool.with({.timeout = 20ms, .label = "search"}).submit(search).get();
    } catch (const pf::task_timeout& e) {
        std::cout << e.what() << '\n';
    }
    const auto who = [] { return pf::this_worker::pid(); };
    std::cout << "the same worker goes on: " << std::boolalpha << (pool.submit(who).get() == worker)
              << '\n';

    auto hanging = pool.with({.timeout = 100ms}).submit(hang);
    auto late = pool.with({.deadline = std::chrono::steady_clock::now() + 10ms}).submit(search);
    try {
        late.get();
    } catch (const pf::task_expired& e) {
        std::cout << e.what() << '\n';
    }
    try {
        hanging.get();
    } catch (const pf::task_timeout& e) {
        const bool known = e.stack_trace().find("hang") != std::string::npos;
        std::cout << e.what() << (known ? ", in hang()" : "") << '\n';
    }
    std::cout << "another worker goes on: " << (pool.submit(who).get() != worker) << '\n';
}

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "prefork/prefork.hpp"

// A task that loses memory, if asked to. For process/leave_test.py.

static int lose(int bytes) {
    if (bytes == 0) return 0;
    volatile char* lost = new char[static_cast<std::size_t>(bytes)];
    lost[0] = 1;
    const int value = lost[0];
    lost = nullptr;
    return value;
}

int main(int count, char** values) {
    // What only this stack refers to is no leak in a worker, although it is another process.
    const std::vector<std::string> held(100, std::string(1000, 'x'));
    const int bytes = count > 1 ? std::atoi(values[1]) : 0;
    prefork::pool pool{{.workers = 1}};
    int answer = pool.submit(lose, bytes).get();
    for (int i = 0; i < 100; ++i) answer += pool.submit(lose, 0).get();
    std::printf("%d %zu\n", answer, held.size());
    return 0;
}

// A program that saves a task which crashed, hung or threw, for pool/replay_test: `crashing WHAT
// FILE`. Started with PREFORK_REPLAY=FILE it never gets to its pool.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <prefork/prefork.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

bool is_replayed = false;  // as main() found it

// What it is given decides what it does, so that a wrong byte of it is seen.
int examine(const std::string& text, const std::vector<int>& numbers, int expected) {
    int sum = 0;
    for (const int each : numbers) sum += each;
    if (sum != expected || text.size() != 12) return 100;
    std::fprintf(stderr, "examining %s: %d\n", text.c_str(), sum);
    volatile int* nowhere = nullptr;
    return *nowhere;
}

int sum_of(pf::shared_array<int> numbers, int times) {
    int sum = 0;
    for (const int each : numbers) sum += each;
    if (sum * times != 3 * 4950) return 100;
    std::fprintf(stderr, "an array of %zu\n", numbers.size());
    numbers[0] = 1;  // read-only
    return 0;
}

int only_in_a_worker() {
    if (is_replayed) return 0;
    ::raise(SIGKILL);
    return 1;
}

int throws_when_replayed(int number) {
    if (is_replayed) throw std::out_of_range("number " + std::to_string(number));
    ::_exit(3);
}

int hang() {
    if (is_replayed) return 0;
    for (;;) ::pause();
}

template <class Future>
void save(Future task, const char* path) {
    try {
        task.get();
    } catch (const pf::task_lost& e) {
        e.save(path);
        std::fprintf(stderr, "%s\n", e.what());
        return;
    }
    std::exit(9);
}

}  // namespace

int main(int count, char** arguments) {
    is_replayed = std::getenv("PREFORK_REPLAY") != nullptr;
    if (count != 3) return 8;
    const std::string what = arguments[1];
    const char* const path = arguments[2];
    pf::pool pool{{.workers = 1, .memory_budget = 64u << 20, .grace = 0ms}};
    if (is_replayed) return 7;
    if (what == "crash") {
        const std::vector<int> numbers(1000, 3);
        save(pool.with({.label = "GET /users"}).submit(examine, "twelve bytes", numbers, 3000),
             path);
    } else if (what == "array") {
        auto numbers = pool.make_shared_array<int>(100);
        for (int i = 0; i < 100; ++i) numbers[static_cast<std::size_t>(i)] = i;
        save(pool.submit(sum_of, numbers, 3), path);
    } else if (what == "killed") {
        save(pool.submit(only_in_a_worker), path);
    } else if (what == "throw") {
        save(pool.submit(throws_when_replayed, 42), path);
    } else if (what == "hang") {
        save(pool.with({.timeout = 20ms}).submit(hang), path);
    } else if (what == "lambda") {
        save(pool.submit(
                 [x = 7](int y) {
                     std::fprintf(stderr, "a lambda of %d\n", x * y);
                     if (!is_replayed) ::raise(SIGKILL);
                 },
                 6),
             path);
    } else {
        return 8;
    }
    return 0;
}

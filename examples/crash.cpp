// A task that crashes or hangs loses its own result, says why, and can be run again.
#include <chrono>
#include <iostream>
#include <prefork/prefork.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace pf = prefork;
using namespace std::chrono_literals;

int parse(const std::string& text) {
    if (text == "wild pointer") {
        volatile int* nowhere = nullptr;
        return *nowhere;
    }
    for (volatile bool endless = text == "endless"; endless;) {
    }
    return std::stoi(text);
}

int main() {
    pf::pool pool{{.workers = 2, .timeout = 500ms}};
    std::vector<pf::future<int>> results;
    for (const char* text : {"1", "two", "wild pointer", "endless", "5"}) {
        results.push_back(pool.submit(parse, text));
    }
    for (pf::future<int>& result : results) {
        try {
            const int value = result.get();
            std::cout << "value: " << value << '\n';
        } catch (const std::invalid_argument& e) {
            std::cout << "invalid_argument: " << e.what() << '\n';
        } catch (const pf::worker_lost& e) {
            std::cout << e.what() << '\n' << e.stack_trace() << '\n';
            e.save("crash.task");
        } catch (const pf::task_timeout& e) {
            std::cout << e.what() << '\n' << e.stack_trace() << '\n';
        }
    }
    std::cout << "and the pool goes on: " << pool.submit(parse, "6").get() << '\n';
}

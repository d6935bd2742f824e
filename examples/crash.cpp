// What happens when a task crashes: it loses its own result, and nobody else notices.
#include <iostream>
#include <prefork/prefork.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace pf = prefork;

int parse(const std::string& text) {
    if (text == "wild pointer") {
        volatile int* nowhere = nullptr;
        return *nowhere;
    }
    return std::stoi(text);
}

int main() {
    pf::pool pool{{.workers = 2}};
    std::vector<pf::future<int>> results;
    for (const char* text : {"1", "two", "wild pointer", "4"}) {
        results.push_back(pool.submit(parse, text));
    }
    for (pf::future<int>& result : results) {
        try {
            const int value = result.get();
            std::cout << "value: " << value << '\n';
        } catch (const std::invalid_argument& e) {
            std::cout << "invalid_argument: " << e.what() << '\n';
        } catch (const pf::worker_lost& e) {
            std::cout << e.what() << '\n';
        }
    }
    std::cout << "and the pool goes on: " << pool.submit(parse, "5").get() << '\n';
}

// What a worker logs reaches the host, even if the worker crashes with its next instruction.
#include <cstdlib>
#include <iostream>
#include <prefork/prefork.hpp>
#include <string>

namespace pf = prefork;

int load(const std::string& name) {
    pf::log(pf::level::info, "opening {}", name);
    pf::log(pf::level::warning, "{}: version {} is newer than {}", name, 2.5, 2);
    std::abort();
}

int main() {
    pf::set_log_handler([](const pf::log_record& line) {
        if (line.worker) std::cout << line.pool << "/worker " << *line.worker << ": ";
        std::cout << line.text << std::endl;
    });
    pf::log(pf::level::info, "in the host it is a call of the handler");
    pf::pool pool{{.workers = 1, .name = "loader"}};
    try {
        pool.submit(load, "map.bin").get();
    } catch (const pf::worker_lost& e) {
        std::cout << "and in the error:\n" << e.log_tail() << '\n';
    }
}

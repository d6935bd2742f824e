// std::async: a thread a task.
#include <future>

#include "workload.hpp"

int main(int argc, char** argv) {
    return prefork::versus::measure(argc, argv, [](int number) {
        return std::async(std::launch::async, prefork::versus::task, number).get();
    });
}

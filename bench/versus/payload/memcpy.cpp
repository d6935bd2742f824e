// The limit of all that copy: once, within one process.
#include <cstring>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](payload bytes) {
        return [bytes, copy = std::vector<std::byte>(bytes.size())]() mutable {
            if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
            // Its use: without one the compiler may leave the copy out.
            __asm__ volatile("" : : "r"(copy.data()) : "memory");
            return seen(copy);
        };
    });
}

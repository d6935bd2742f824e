// How many steps of bench/support/work.hpp take as long as asked, for each of the nanoseconds in
// the arguments, a JSON object: so tools/bench asks every peer for the same steps, and answers can
// be compared.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "bench/support/work.hpp"

int main(int argc, char** argv) {
    const char* separator = "{";
    for (int i = 1; i < argc; ++i) {
        const std::chrono::nanoseconds wanted{std::strtoull(argv[i], nullptr, 10)};
        std::printf("%s\"%s\": %llu", separator, argv[i],
                    static_cast<unsigned long long>(prefork::bench::steps_for(wanted)));
        separator = ", ";
    }
    std::puts("}");
}

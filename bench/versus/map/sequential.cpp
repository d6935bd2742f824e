// std::transform in the caller: what a pool has to be faster than.
#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](const numbers& items, function each) {
        numbers found(items.size());
        std::transform(items.begin(), items.end(), found.begin(), each);
        return found;
    });
}

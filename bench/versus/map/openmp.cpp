// OpenMP: parallel for, with the schedule that it has by itself.
#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](const numbers& items, function each) {
        numbers found(items.size());
#pragma omp parallel for
        for (std::size_t i = 0; i < items.size(); ++i) found[i] = each(items[i]);
        return found;
    });
}

// oneTBB: parallel_for over a range that it splits by itself.
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [](const numbers& items, function each) {
        numbers found(items.size());
        tbb::parallel_for(tbb::blocked_range<std::size_t>{0, items.size()},
                          [&](const tbb::blocked_range<std::size_t>& some) {
                              for (std::size_t i = some.begin(); i != some.end(); ++i) {
                                  found[i] = each(items[i]);
                              }
                          });
        return found;
    });
}

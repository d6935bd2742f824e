// boost::asio::thread_pool: eight chunks a thread, posted, counted down by a latch.
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <latch>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    boost::asio::thread_pool pool{cpus()};
    return measure(argc, argv, [&](const numbers& items, function each) {
        numbers found(items.size());
        const std::size_t chunks = std::size_t{8} * cpus();
        std::latch left{static_cast<std::ptrdiff_t>(chunks)};
        for_each_chunk(items.size(), chunks, [&](std::size_t begin, std::size_t end) {
            boost::asio::post(pool, [&, begin, end] {
                for (std::size_t i = begin; i < end; ++i) found[i] = each(items[i]);
                left.count_down();
            });
        });
        left.wait();
        return found;
    });
}

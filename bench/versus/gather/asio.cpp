// boost::asio::thread_pool: posted, counted down by a latch.
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <latch>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    boost::asio::thread_pool pool{cpus()};
    return measure(argc, argv, [&](std::uint32_t count, std::uint64_t steps) {
        results found(count);
        std::latch left{count};
        for (std::uint32_t i = 0; i < count; ++i) {
            boost::asio::post(pool, [&, i, steps] {
                found[i] = value_of({i, steps});
                left.count_down();
            });
        }
        left.wait();
        return found;
    });
}

// boost::asio::thread_pool of two threads: posted, with futures; the caller waits.
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    using boost::asio::use_future;
    boost::asio::thread_pool pool{2};
    return measure(argc, argv, [&](std::uint32_t first, std::uint32_t second, std::uint64_t steps) {
        auto one = boost::asio::post(pool, use_future([=] { return task(first, steps); }));
        auto other = boost::asio::post(pool, use_future([=] { return task(second, steps); }));
        const std::uint32_t result = one.get();
        return two{result, other.get()};
    });
}

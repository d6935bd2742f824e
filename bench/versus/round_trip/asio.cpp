// boost::asio::thread_pool: posted, with a future.
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    boost::asio::thread_pool pool{1};
    return prefork::versus::measure(argc, argv, [&](int number) {
        return boost::asio::post(
                   pool, boost::asio::use_future([=] { return prefork::versus::task(number); }))
            .get();
    });
}

// boost::asio::thread_pool: a thread sees the same memory, so a pointer is all that travels; and a
// wild one in the task is the caller's end.
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    boost::asio::thread_pool pool{1};
    return measure(argc, argv, [&](payload bytes) {
        return [&pool, bytes] {
            return boost::asio::post(pool, boost::asio::use_future([bytes] { return seen(bytes); }))
                .get();
        };
    });
}

#include "prefork/asio.hpp"

#include <boost/asio/io_context.hpp>
#include <stdexcept>

#include "support/catch.hpp"
#include "support/leaks.hpp"

namespace pf = prefork;

namespace {

int twice(int x) { return 2 * x; }

}  // namespace

TEST_CASE("an io_context runs callbacks as results come, until nothing is outstanding") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    boost::asio::io_context context;
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
        pool.submit(twice, i).on_ready([&](pf::future<int> task) { sum += task.get(); });
    }
    pf::asio_poller poller{context.get_executor(), pool, [&] { context.stop(); }};
    context.run();
    CHECK(sum == 9900);
}

TEST_CASE("what a callback throws comes out of run(), and polling goes on") {
    pf::pool pool{{.workers = 1}};
    boost::asio::io_context context;
    pf::asio_poller poller{context.get_executor(), pool, [&] { context.stop(); }};
    pool.submit(twice, 1).on_ready([] { throw std::runtime_error("in a callback"); });
    REQUIRE_THROWS_WITH(context.run(), "in a callback");
    int got = 0;
    pool.submit(twice, 2).on_ready([&](pf::future<int> task) { got = task.get(); });
    context.run();
    CHECK(got == 4);
    poller.cancel();
    context.restart();
    context.run();  // ends: nothing is waited for
}

// Built with -fno-exceptions: what the headers declare then, and that nothing of it throws.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <prefork/prefork.hpp>
#include <string>

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

int twice(int x) { return 2 * x; }
std::string repeated(const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
}

void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "not true: %s\n", what);
    std::exit(1);
}

}  // namespace

int main() {
    const auto senseless = pf::pool::make({.workers = 1000});
    check(!senseless, "a pool of 1000 workers is refused");
    check(senseless.error().kind() == pf::failure_kind::invalid_argument, "as a wrong option");

    pf::expected<pf::pool> made = pf::pool::make({.workers = 2});
    check(made.has_value(), "a pool is made");
    pf::pool& pool = *made;
    auto number = pool.try_submit(twice, 21);
    check(number.has_value(), "an empty ring has room");
    check(number->result().value() == 42, "a result arrives");
    check(*pool.try_submit(repeated, "ab", 100)->result() == repeated("ab", 100), "a long one too");

    const auto lost = pool.try_submit([] { std::abort(); })->result();
    check(!lost && lost.error().kind() == pf::failure_kind::worker_lost, "a crash is a failure");
    check(lost.error().details().signal == SIGABRT, "that knows its signal");
    auto late = pool.with({.timeout = 10ms}).try_submit([] {
        for (;;) ::usleep(1000);
    });
    check(late->result().error().kind() == pf::failure_kind::task_timeout, "a time-out too");

    int heard = 0;
    pool.try_submit(twice, 4)->on_ready([&](pf::future<int> task) { heard = *task.result(); });
    while (!pool.poll()) {
    }
    check(heard == 8, "poll() calls back");
    check(pool.shutdown(5s), "the pool ends in peace");
    auto closed = pool.try_submit(twice, 1);
    check(closed->result().error().kind() == pf::failure_kind::pool_closed, "and says so");
}

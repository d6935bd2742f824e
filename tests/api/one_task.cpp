// One task: every way to submit it, to wait for it, and to hear of it.
#include <unistd.h>

#include <coroutine>
#include <optional>
#include <prefork/prefork.hpp>
#include <string>
#include <vector>

#include "check.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

int add(int a, int b) { return a + b; }
std::string fetch(const std::string& url) { return "<" + url + ">"; }
void prefetch(int) {}
int scan(std::stop_token stop, const std::string& text) {
    int looked = 0;
    while (!stop.stop_requested() && text != "short") {
        ++looked;
        ::usleep(100);
    }
    return looked;
}

struct routine {
    struct promise_type {
        routine get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::abort(); }
    };
};
routine add_in_a_coroutine(pf::pool& pool, int& sum) { sum = co_await pool.submit(add, 40, 2); }

}  // namespace

int main() {
    pf::pool pool{{.workers = 2}};
    pf::future<int> answer = pool.submit(add, 40, 2);
    check(answer.wait_for(10s), "it ends");
    check(answer.ready(), "and is ready");
    check(!answer.cancel(), "too late to cancel");
    const int n = answer.get();
    check(n == 42, "the value");

    pf::expected<int> result = pool.submit(add, 1, 2).result();
    check(result && *result == 3, "without exceptions");
    std::vector<pf::future<int>> futures;
    futures.push_back(pool.submit(add, 1, 1));
    futures.push_back(pool.submit(add, 2, 2));
    const std::size_t first = pf::when_any(futures);
    check(futures[first].ready(), "when_any says which");
    pf::when_all(futures);
    bool called = false;
    answer = pool.submit(add, 5, 6);
    answer.on_ready([&] { called = true; });
    int sum = 0;
    add_in_a_coroutine(pool, sum);
    while (!pool.poll()) {
    }
    check(called && sum == 42, "callbacks and coroutines run in poll()");

    const std::string url = "http://localhost";
    check(pool.with({.timeout = 50s, .retries = 2}).submit(fetch, url).get() == "<" + url + ">",
          "options for one call");
    const auto deadline = std::chrono::steady_clock::now() + 50s;
    check(pool.with({.deadline = deadline}).submit(fetch, url).get().size() == url.size() + 2,
          "a deadline");
    check(!pool.with({.label = "GET /users", .priority = pf::priority::high})
               .submit(fetch, url)
               .get()
               .empty(),
          "a label and a priority");
    std::optional<pf::future<int>> tried = pool.try_submit(add, 40, 2);
    check(tried && tried->get() == 42, "never waits");
    pool.detach(prefetch, 7);
    pool.drain();

    check(pool.submit(scan, "short").get() == 0, "a task that takes a stop token");
    auto scanning = pool.submit(scan, "long");
    scanning.cancel();
    try {
        scanning.get();
        check(false, "a cancelled task has no value");
    } catch (const pf::cancelled&) {
    }
    check(pool.with(pf::codec::raw).submit(add, 1, 2).get() == 3, "a codec");
    check(pool.with(pf::codec::automatic).submit(add, 1, 2).get() == 3, "the default one");
}

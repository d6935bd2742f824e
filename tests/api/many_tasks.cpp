// Many tasks, arrays without a copy, and what a worker may ask and keep.
#include <numeric>
#include <prefork/prefork.hpp>
#include <string>
#include <vector>

#include "check.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

double simulate(int x) { return x / 2.0; }
int cheap(int x) { return x + 1; }
std::string render(int user) { return "user " + std::to_string(user) + "\n"; }
std::string render_range(std::size_t first, std::size_t last) {
    std::string text;
    for (std::size_t i = first; i < last; ++i) text += render(static_cast<int>(i));
    return text;
}
pf::shared_array<float> filter(pf::shared_array<std::byte> image) {
    auto out = pf::make_shared_array<float>(image.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(image[i]);
    return out;
}

struct database {
    std::string name;
    int queries = 0;
    int count(int customer) { return customer + ++queries; }
};
pf::worker_local<database> db{[] { return database{"orders.db"}; }};
int rows(int customer) { return db->count(customer); }

}  // namespace

int main() {
    pf::pool pool{{.workers = 2}};
    std::vector<int> inputs(1000);
    std::iota(inputs.begin(), inputs.end(), 0);
    const std::vector<double> r = pool.map(inputs, simulate);
    check(r.size() == 1000 && r[999] == 499.5, "a map, in order");
#if !defined(__clang__) || __clang_major__ >= 16  // clang 14 can't compile libstdc++ 12's views
    const auto counted = pool.map(std::views::iota(0, 1'000'000), cheap);
    check(counted.size() == 1'000'000 && counted.back() == 1'000'000, "of any range");
#endif
    check(pool.map(inputs, cheap, {.caller_helps = true})[5] == 6, "with the caller's help");

    pf::task_group<std::string> group{pool};
    for (auto [first, last] : pf::ranges(inputs.size(), {.workers = 4, .min_size = 30}))
        group.run(render_range, first, last);
    const std::vector<std::string> pages = group.get();
    check(pages.size() == 4 && pages[0].rfind("user 0\n", 0) == 0, "a group, in order");
    check(!group.ran_inline(), "by workers");
    try {
        static_cast<void>(group.get());
        check(false, "results are handed out once");
    } catch (const pf::group_collected&) {
    }

    std::string all;
    for (std::string& page : pool.stream(inputs, render, {.max_in_flight = 64})) all += page;
    check(all == render_range(0, 1000), "a stream, in order");
    std::size_t count = 0;
    for (std::string& page : pool.stream(inputs, render, {.order = pf::order::completion}))
        count += !page.empty();
    check(count == 1000, "or first come, first out");

    auto image = pool.make_shared_array<std::byte>(64u << 20);
    image.span()[77] = std::byte{9};
    const pf::shared_array<float> out = pool.submit(filter, image).get();
    check(out.size() == image.size() && out[77] == 9.0f, "arrays without a copy");

    check(pool.submit(rows, 10).get() > 10, "a database a worker");
    const auto identity = [] { return pf::this_worker::index(); };
    check(pool.submit(identity).get() < 2, "a worker's number");
    check(pool.submit([] { return pf::this_worker::pid(); }).get() != pf::this_worker::pid(),
          "its id");
    const auto asks = [] {
        pf::this_worker::extend(500ms);
        pf::log(pf::level::debug, "rendered {}", 7);
        return pf::this_worker::stop_requested();
    };
    check(!pool.submit(asks).get(), "nobody wants it to stop");
    check(pool.submit([] { return pf::this_task::seed(); }).get() != 0, "a seed");
}

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"

// A program gives the same answer in worker processes and inline: one story, told by a pool of each
// kind, compared word for word.

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

struct own_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

int twice(int x) { return 2 * x; }
int fail(int kind) {
    switch (kind) {
        case 0:
            throw std::out_of_range("no such row");
        case 1:
            throw own_error("mine");
        case 2:
            throw 42;
        case 3:
            return std::map<int, int>{}.at(kind);
        case 4:
            throw std::bad_alloc();
        case 5:
            return std::stoi(std::string(200, 'x'));
        case 6:
            throw std::system_error(std::make_error_code(std::errc::no_such_device), "open");
        default:
            throw std::runtime_error(std::string(100'000, 'l'));
    }
}
std::string echo(std::string text) { return text; }
std::map<std::string, int> count(const std::vector<std::string>& words) {
    std::map<std::string, int> counts;
    for (const std::string& each : words) ++counts[each];
    return counts;
}

/// What was returned or thrown, as text: the types that catch it, and what() it says.
template <class Call>
std::string told(Call call) {
    try {
        return call();
    } catch (const pf::task_error& e) {
        std::string as;
        try {
            throw;
        } catch (const std::out_of_range&) {
            as = "out_of_range ";
        } catch (const std::invalid_argument&) {
            as = "invalid_argument ";
        } catch (const std::bad_alloc&) {
            as = "bad_alloc ";
        } catch (const std::system_error& s) {
            as = "system_error " + std::to_string(s.code().value()) + " ";
        } catch (const pf::error&) {
        }
        return as + "task_error " + e.type_name() + ": " + e.what();
    } catch (const pf::payload_too_large& e) {
        return std::string("payload_too_large: ") + e.what();
    } catch (const pf::group_collected& e) {
        return std::string("group_collected: ") + e.what();
    } catch (const pf::pool_closed& e) {
        return std::string("pool_closed: ") + e.what();
    } catch (const std::invalid_argument& e) {
        return std::string("invalid_argument: ") + e.what();
    } catch (const std::exception& e) {
        return std::string("another: ") + e.what();
    }
}

std::vector<std::string> story(unsigned workers) {
    std::vector<std::string> all;
    const auto tell = [&](auto call) {
        all.push_back(told([&] {
            if constexpr (std::is_void_v<decltype(call())>) {
                call();
                return std::string("done");
            } else if constexpr (std::is_arithmetic_v<decltype(call())>) {
                return std::to_string(call());
            } else {
                return std::string(call());
            }
        }));
    };
    pf::pool pool{{.workers = workers, .memory_budget = 4u << 20, .name = "story"}};

    // One task: values, errors, states of its future.
    tell([&] { return pool.submit(twice, 21).get(); });
    for (int kind = 0; kind < 8; ++kind) tell([&] { return pool.submit(fail, kind).get(); });
    auto one = pool.submit(twice, 1);
    one.wait();
    tell([&] { return one.ready() && one.wait_for(0ms) && one.valid(); });
    tell([&] { return one.cancel(); });
    tell([&] { return one.get_for(1s); });
    tell([&] { return one.get(); });
    tell([&] { return one.ready(); });
    tell([&] { return pool.submit([] {}).get(); });

    // Payloads: large, too large, by each codec.
    tell([&] { return pool.submit(echo, std::string(100'000, 'x')).get().size(); });
    tell([&] { return pool.submit(echo, std::string(5u << 20, 'x')).get(); });
    tell([&] { return pool.submit([] { return std::string(5u << 20, 'y'); }).get(); });
    tell([&] { return pool.make_shared_array<char>(5u << 20).size(); });
    tell([&] {
        return pool.submit([] { return pf::make_shared_array<char>(5u << 20); }).get().size();
    });
    tell([&] { return pool.submit([] { return pf::make_shared_array<int>(500); }).get().size(); });
    const std::vector<std::string> words{"a", "b", "a"};
    tell([&] { return pool.submit(count, words).get().at("a"); });
    tell([&] { return pool.with(pf::codec::msgpack).submit(count, words).get().at("a"); });
    tell([&] { return pool.with(pf::codec::raw).submit(twice, 4).get(); });
    tell([&] { return pool.with({.timeout = -1ms}).submit(twice, 4).get(); });

    // Before map(), which cuts its inputs by the number of workers.
    const pf::pool_stats stats = pool.stats();
    tell([&] { return stats.submitted; });
    tell([&] { return stats.completed; });
    tell([&] { return stats.failed; });
    tell([&] { return stats.retried + stats.lost_workers + stats.timeouts; });

    // Many: order, the first error, once.
    std::vector<int> numbers(100);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i);
    tell([&] {
        std::string text;
        for (const int each : pool.map(numbers, twice)) text += std::to_string(each) + ' ';
        return text;
    });
    tell([&] {
        return pool.map(numbers, [](int x) { return x == 70 ? fail(0) : x / 71 * fail(1); })[0];
    });
    pf::task_group<int> group{pool};
    for (int i = 0; i < 10; ++i) group.run(twice, i);
    tell([&] {
        std::string text;
        for (const int each : group.get()) text += std::to_string(each) + ' ';
        return text;
    });
    tell([&] { return group.get()[0]; });
    tell([&] { group.run(twice, 1); });
    pf::task_group<int> failing{pool};
    for (const int kind : {1, 0}) failing.run(fail, kind);
    tell([&] { return failing.get()[0]; });

    // The end.
    tell([&] { return pool.cancel_all() + pool.kill_all(); });
    tell([&] { pool.drain(); });
    tell([&] { return pool.healthy(); });
    auto last = pool.submit(twice, 5);
    tell([&] { return pool.shutdown(10s); });
    tell([&] { return pool.healthy(); });
    tell([&] { return last.get(); });
    tell([&] { return pool.submit(twice, 1).get(); });
    tell([&] { return pool.map(numbers, twice)[0]; });
    tell([&] { return pool.make_shared_array<int>(1).size(); });
    tell([&] { return pf::task_group<int>{pool}.get().size(); });
    tell([&] { return pool.shutdown(1s); });
    return all;
}

}  // namespace

TEST_CASE("a program gives the same answers, word for word, in 1 and 3 workers and inline") {
    const pf::test::leaks none_left;
    const std::vector<std::string> expected = story(1);
    REQUIRE(expected.size() > 40);
    for (const unsigned workers : {3u, pf::inline_workers}) {
        const std::vector<std::string> got = story(workers);
        REQUIRE(got.size() == expected.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
            CAPTURE(workers, i);
            CHECK(got[i].substr(0, 300) == expected[i].substr(0, 300));
            CHECK(got[i] == expected[i]);
        }
    }
}

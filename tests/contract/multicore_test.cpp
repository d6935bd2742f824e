#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "gate/usable_cpus.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/inline_mode.hpp"
#include "support/leaks.hpp"

// What users of the Python library multicore had, and what it got wrong.

namespace pf = prefork;
namespace test = prefork::test;
using namespace std::chrono_literals;

namespace {

int twice(int x) { return 2 * x; }
int slow_then(int value) {
    const timespec time{0, 60'000'000};
    ::nanosleep(&time, nullptr);
    return value;
}
std::map<std::string, int> count_words(const std::vector<std::string>& words) {
    std::map<std::string, int> counts;
    for (const std::string& word : words) ++counts[word];
    return counts;
}

}  // namespace

TEST_CASE("pages of users are rendered in ranges, in order") {
    std::vector<std::string> users;
    for (int i = 0; i < 80; ++i) users.push_back("user " + std::to_string(i));
    static std::vector<std::string>* all = nullptr;
    all = &users;  // before the pool: workers see it and it need not be sent
    pf::pool pool{{.workers = 4}};
    pf::task_group<std::string> group{pool};
    for (auto [first, last] : pf::ranges(users.size(), {.workers = 4, .min_size = 30})) {
        group.run(
            [](std::size_t from, std::size_t to) {
                std::string page;
                for (std::size_t i = from; i < to; ++i) page += (*all)[i] + "\n";
                return page;
            },
            first, last);
    }
    std::string page;
    for (const std::string& part : group.get()) page += part;
    std::string expected;
    for (const std::string& user : users) expected += user + "\n";
    CHECK(page == expected);
}

TEST_CASE("a late result is never delivered to a later task") {
    if (test::left_out_inline("a worker that is late while the caller goes on")) return;
    pf::pool pool{{.workers = 1, .queue_limit = 2, .grace = 1s}};
    for (int i = 0; i < 5; ++i) {
        auto late = pool.with({.timeout = 10ms}).submit(slow_then, -1);
        REQUIRE_THROWS_AS(late.get(), pf::task_timeout);
        for (int j = 0; j < 5; ++j) REQUIRE(pool.submit(twice, j).get_for(20s) == 2 * j);
    }
}

TEST_CASE("an exception arrives at once and as itself, not as a time-out") {
    pf::pool pool{{.workers = 1}};
    auto failed = pool.submit([](int key) { return std::map<int, int>{}.at(key); }, 3);
    REQUIRE_THROWS_AS(failed.get_for(10s), std::out_of_range);
}

TEST_CASE("maps travel by msgpack, and each codec can be insisted on") {
    pf::pool pool{{.workers = 1}};
    const std::vector<std::string> words{"a", "b", "a"};
    const std::map<std::string, int> counts{{"a", 2}, {"b", 1}};
    CHECK(pool.submit(count_words, words).get() == counts);
    CHECK(pool.with(pf::codec::msgpack).submit(count_words, words).get() == counts);
    CHECK(pool.with(pf::codec::raw).submit(twice, 4).get() == 8);
    CHECK(pool.with(pf::codec::automatic).submit(twice, 4).get() == 8);
}

TEST_CASE("results far larger than the 100,000 bytes that killed a worker there come back") {
    pf::pool pool{{.workers = 2}};
    const auto large = [](std::size_t size) { return std::string(size, 'x'); };
    for (const std::size_t size : {99'999u, 100'001u, 5'000'000u}) {
        CHECK(pool.submit(large, size).get().size() == size);
    }
}

TEST_CASE("a pool made on a pinned thread has workers on all CPUs of the process") {
    const auto cpus = pf::gate::process_affinity();
    std::vector<unsigned> seen;
    std::thread{[&] {
        REQUIRE(pf::gate::set_affinity({cpus.front()}));
        pf::pool pool{{.workers = 1}};
        seen = pool.submit([] { return pf::gate::process_affinity(); }).get();
    }}.join();
    CHECK(seen == cpus);
}

TEST_CASE("a pool made among busy threads, whose host ignores SIGCHLD, works and leaves nothing") {
    const pf::test::leaks none_left;
    const auto before = ::signal(SIGCHLD, SIG_IGN);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            while (!stop) std::string(1000, 'x').append("y");
        });
    }
    {
        pf::pool pool{{.workers = 2, .retries = 1}};
        for (int i = 0; i < 200; ++i) REQUIRE(pool.submit(twice, i).get() == 2 * i);
        CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
        CHECK(errno == ECHILD);
    }
    stop = true;
    for (std::thread& each : threads) each.join();
    ::signal(SIGCHLD, before);
}

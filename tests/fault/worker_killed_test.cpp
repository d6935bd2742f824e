#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <random>
#include <thread>
#include <vector>

#include "base/fail_point.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

// design.md §6, "worker dies while running it": at every named place, and at random instants.

namespace pf = prefork;
using pf::base::fail_point;
using namespace std::chrono_literals;

namespace {

long square(long x) { return x * x; }
std::string stretch(std::string text) { return text + text; }

/// Long enough that a kill at a random instant most often hits one that runs.
long square_slowly(long x) {
    for (volatile int i = 0; i < 20'000;) i = i + 1;
    return x * x;
}

/// Kills workers of a pool, one after another, at whatever they are doing, as long as it lives.
class random_kills {
  public:
    random_kills(pf::pool& pool, int kills) : thread_([this, &pool, kills] { run(pool, kills); }) {}
    ~random_kills() {
        stop_ = true;
        thread_.join();
    }

  private:
    void run(pf::pool& pool, int kills) {
        std::minstd_rand random{42};
        for (int i = 0; i < kills && !stop_; ++i) {
            const auto workers = pool.stats().workers;
            if (!workers.empty()) ::kill(workers[random() % workers.size()].pid, SIGKILL);
            const auto lost = pool.stats().lost_workers;
            static_cast<void>(
                pf::test::until([&] { return stop_ || pool.stats().lost_workers > lost; }, 100ms));
        }
    }

    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace

TEST_CASE("a worker that dies at any named place loses nothing when one more run is allowed") {
    for (const char* place :
         {"worker.claimed", "worker.started", "worker.before_commit", "commit.before_wake",
          "claim.before_look_behind", "wake.before_call"}) {
        for (const std::uint32_t at_hit : {1u, 2u, 7u}) {
            CAPTURE(place, at_hit);
            const pf::test::leaks none_left;
            // Armed after the pool is made would arm the host alone; before, the host counts too.
            fail_point::arm(place, fail_point::action::die, at_hit);
            if (std::string{place} == "wake.before_call") {
                fail_point::disarm();  // the host wakes too, and this is not its test
            }
            pf::pool pool{{.workers = 2, .retries = 1}};
            std::vector<pf::future<long>> results;
            for (long i = 0; i < 50; ++i) results.push_back(pool.submit(square, i));
            for (long i = 0; i < 50; ++i) {
                REQUIRE(results[static_cast<std::size_t>(i)].get_for(20s) == i * i);
            }
            fail_point::disarm();
        }
    }
}

TEST_CASE("a worker that dies while it wakes another leaves nobody asleep for good") {
    const pf::test::leaks none_left;
    static std::atomic<int>* met = nullptr;
    met = static_cast<std::atomic<int>*>(
        ::mmap(nullptr, sizeof *met, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    fail_point::arm("wake.bit_cleared", fail_point::action::die, 1, 1, 0,
                    pf::base::fail_points::worker);
    pf::pool pool{{.workers = 2, .retries = 1, .idle = pf::idle::park}};
    for (int round = 0; round < 1000 && fail_point::hits() == 0; ++round) {
        std::vector<pf::future<long>> burst;
        for (long i = 0; i < 8; ++i) burst.push_back(pool.submit(square, i));
        for (long i = 0; i < 8; ++i)
            REQUIRE(burst[static_cast<std::size_t>(i)].get_for(20s) == i * i);
    }
    REQUIRE(fail_point::hits() > 0);
    REQUIRE(pf::test::until([&] { return pool.stats().lost_workers == 1; }));
    fail_point::disarm();
    // Two that need both workers.
    const auto meet = [] {
        met->fetch_add(1);
        return pf::test::until([] { return met->load() == 2; });
    };
    auto one = pool.submit(meet);
    auto other = pool.submit(meet);
    CHECK(one.get_for(20s));
    CHECK(other.get_for(20s));
    ::munmap(met, sizeof *met);
}

TEST_CASE("workers killed at random instants under load lose no task, and no result is wrong") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2, .retries = 1000}};
    const random_kills kills{pool, 150};
    const auto end = std::chrono::steady_clock::now() + 20s;
    const auto killed = [&] { return pool.stats().lost_workers >= 20; };
    for (int round = 0; round < 60 || !killed(); ++round) {
        REQUIRE(std::chrono::steady_clock::now() < end);
        std::vector<pf::future<long>> small;
        std::vector<pf::future<std::string>> large;
        for (long i = 0; i < 200; ++i) small.push_back(pool.submit(square, i));
        for (std::size_t i = 0; i < 20; ++i)
            large.push_back(pool.submit(stretch, std::string(i * 100, 'x')));
        for (long i = 0; i < 200; ++i) {
            REQUIRE(small[static_cast<std::size_t>(i)].get_for(20s) == i * i);
        }
        for (std::size_t i = 0; i < 20; ++i) REQUIRE(large[i].get_for(20s).size() == i * 200);
    }
}

TEST_CASE(
    "without retries each task ends with its result or with worker_lost, and each only once") {
    const pf::test::leaks none_left;
    pf::pool pool{{.workers = 2}};
    const random_kills kills{pool, 100'000};
    int lost = 0;
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (lost < 20 && std::chrono::steady_clock::now() < end) {
        std::vector<pf::future<long>> results;
        for (long i = 0; i < 200; ++i) results.push_back(pool.submit(square_slowly, i));
        for (long i = 0; i < 200; ++i) {
            long value = 0;
            try {
                value = results[static_cast<std::size_t>(i)].get_for(20s);
            } catch (const pf::worker_lost& e) {
                ++lost;
                REQUIRE(e.attempts() == 1);
                REQUIRE(e.killed_by() == pf::killer::stranger);
                continue;
            }
            REQUIRE(value == i * i);
        }
    }
    CHECK(lost >= 20);
    CHECK(pool.stats().failed == static_cast<std::uint64_t>(lost));
}

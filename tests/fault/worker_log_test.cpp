#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/fail_point.hpp"
#include "base/unique_fd.hpp"
#include "log/log_ring.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/log_lines.hpp"
#include "support/until.hpp"

// What workers log reaches the host's handler, whatever becomes of the worker.

namespace pf = prefork;
using pf::base::fail_point;
using pf::test::log_lines;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;

namespace {

int say(int number) {
    pf::log(pf::level::info, "number {}", number);
    return number;
}
int say_many(int count, int from) {
    for (int i = 0; i < count; ++i) pf::log(pf::level::info, "{}", from + i);
    return count;
}
int say_and_die(int count) {
    for (int i = 1; i <= count; ++i) pf::log(pf::level::warning, "last words {}", i);
    ::kill(::getpid(), SIGKILL);
    return 0;
}

bool contains(const strings& all, const std::string& text) {
    return std::find(all.begin(), all.end(), text) != all.end();
}

}  // namespace

TEST_CASE("a line has the label of the task that wrote it") {
    log_lines lines;
    pf::pool pool{{.workers = 1}};
    CHECK(pool.with({.label = "GET /users"}).submit(say, 1).get() == 1);
    CHECK(pool.submit(say, 2).get() == 2);
    CHECK(pool.with({.label = std::string(200, 'x')}).submit(say, 3).get() == 3);
    REQUIRE(pf::test::until([&] { return lines.size() == 3; }));
    CHECK(lines.all()[0].label == "GET /users");
    CHECK(lines.all()[1].label.empty());
    CHECK(lines.all()[2].label == std::string(200, 'x'));
    CHECK(lines.all()[2].text == "number 3");
}

TEST_CASE("a worker's line reaches the handler with pool, worker and process") {
    const pf::test::leaks none_left;
    log_lines lines;
    pf::pool pool{{.workers = 1, .name = "render"}};
    CHECK(pool.submit(say, 7).get() == 7);
    REQUIRE(pf::test::until([&] { return lines.size() == 1; }));
    const auto line = lines.all().front();
    CHECK(line.level == pf::level::info);
    CHECK(line.text == "number 7");
    CHECK(line.pool == "render");
    CHECK(line.worker == 0u);
    CHECK(line.pid == pool.stats().workers.at(0).pid);
}

TEST_CASE("lines that are pending when the pool ends are delivered before its destructor returns") {
    const pf::test::leaks none_left;
    log_lines lines;
    for (int round = 1; round <= 20; ++round) {
        {
            pf::pool pool{{.workers = 2,
                           .on_worker_start = [] { pf::log(pf::level::info, "start"); },
                           .on_worker_exit = [] { pf::log(pf::level::info, "exit"); }}};
            CHECK(pool.submit(say_many, 50, 0).get() == 50);
            CHECK(lines.size() >= static_cast<std::size_t>(54 * (round - 1) + 2));
        }
        const strings texts = lines.texts();
        REQUIRE(texts.size() == static_cast<std::size_t>(54 * round));
        CHECK(std::count(texts.begin(), texts.end(), "exit") == 2 * round);
    }
}

TEST_CASE(
    "lines of a worker that is killed right after them come before the error, and are in it") {
    const pf::test::leaks none_left;
    log_lines lines;
    pf::pool pool{{.workers = 2}};
    for (int round = 0; round < 20; ++round) {
        const std::size_t before = lines.size();
        auto lost = pool.submit(say_and_die, 3);
        lost.wait();
        const strings texts = lines.texts();
        REQUIRE(texts.size() == before + 3);
        CHECK(texts.back() == "last words 3");
        try {
            lost.get();
            FAIL("no error");
        } catch (const pf::worker_lost& e) {
            CHECK(e.log_tail() ==
                  "[warning] last words 1\n[warning] last words 2\n[warning] last words 3");
        }
    }
}

TEST_CASE("the error has the last twenty lines of the worker's life") {
    log_lines lines;
    pf::pool pool{{.workers = 1}};
    CHECK(pool.submit(say_many, 30, 100).get() == 30);
    REQUIRE(pf::test::until([&] { return lines.size() == 30; }));
    try {
        pool.submit(say_and_die, 1).get();
        FAIL("no error");
    } catch (const pf::worker_lost& e) {
        CHECK(std::count(e.log_tail().begin(), e.log_tail().end(), '\n') == 19);
        CHECK(e.log_tail().find("[info] 111\n") == 0);
        CHECK(e.log_tail().find("\n[info] 129\n[warning] last words 1") != std::string::npos);
    }
    try {
        pool.submit([] { return static_cast<int>(::raise(SIGKILL)); }).get();
        FAIL("no error");
    } catch (const pf::worker_lost& e) {
        CHECK(e.log_tail().empty());  // another worker
    }
}

TEST_CASE("a worker that dies inside log() costs that line at most") {
    const pf::test::leaks none_left;
    for (const auto& [place, delivered] :
         {std::pair{"log.before_publish", 1}, {"log.before_wake", 2}}) {
        CAPTURE(place);
        log_lines lines;
        fail_point::arm(place, fail_point::action::die, 2);
        pf::pool pool{{.workers = 1, .retries = 1}};
        CHECK(pool.submit(say_many, 5, 0).get() == 5);
        pool.shutdown(10s);
        fail_point::disarm();
        const strings texts = lines.texts();
        CHECK(texts.size() == static_cast<std::size_t>(delivered) + 5);
        CHECK(texts.front() == "0");
        CHECK(texts.back() == "4");
    }
}

TEST_CASE("a worker faster than the handler loses lines, waits for nobody, and it is said") {
    const pf::test::leaks none_left;
    std::atomic<bool> go_on{false};
    std::atomic<int> seen{0};
    std::atomic<int> dropped{0};
    pf::set_log_handler([&](const pf::log_record& record) {
        static_cast<void>(pf::test::until([&] { return go_on.load(); }));
        if (record.text.find("dropped: the log ring was full") != record.text.npos) {
            dropped += std::stoi(std::string(record.text));
        } else {
            ++seen;
        }
    });
    {
        pf::pool pool{{.workers = 1}};
        CHECK(pool.submit(say_many, 10'000, 0).get_for(10s) == 10'000);
        go_on = true;
    }
    pf::set_log_handler({});
    CHECK(dropped > 0);
    CHECK(seen + dropped == 10'000);
}

TEST_CASE("a worker that scribbles over its log ring harms itself only") {
    const pf::test::leaks none_left;
    log_lines lines;
    // Where its ring is: behind the text of a line of its own, which lies in no other writable
    // shared memory.
    const auto scribble = [](unsigned how) {
        pf::log(pf::level::info, "the needle in {}", "shared memory");
        std::FILE* const maps = std::fopen("/proc/self/maps", "r");
        char line[512];
        pf::logging::log_ring* ring = nullptr;
        while (maps != nullptr && ring == nullptr && std::fgets(line, sizeof line, maps)) {
            unsigned long begin = 0;
            unsigned long end = 0;
            if (std::strstr(line, "/memfd:prefork") == nullptr ||
                std::strstr(line, "rw-s") == nullptr ||
                std::sscanf(line, "%lx-%lx", &begin, &end) != 2) {
                continue;
            }
            const char* const needle = "the needle in shared memory";
            void* const found =
                ::memmem(reinterpret_cast<void*>(begin), end - begin, needle, std::strlen(needle));
            if (found == nullptr) continue;
            // It is the first line of this worker: after the ring's words and its head.
            ring = reinterpret_cast<pf::logging::log_ring*>(static_cast<char*>(found) -
                                                            sizeof(pf::logging::record_head) -
                                                            offsetof(pf::logging::log_ring, bytes));
        }
        if (ring == nullptr ||
            reinterpret_cast<std::uintptr_t>(ring) % alignof(pf::logging::log_ring) != 0)
            return false;
        for (int i = 0; i < 1000; ++i) {
            if (how == 0) std::memset(static_cast<void*>(ring), i, sizeof *ring);
            if (how == 1) ring->written = static_cast<std::uint64_t>(i) << 50 | 7;
            if (how == 2) ring->written += 4096;
            if (how == 3) ring->bytes.fill(std::byte{0xff});
            if (how == 3) ring->written += 24;
            pf::log(pf::level::info, "scribbled");
        }
        ::raise(SIGKILL);
        return true;
    };
    for (unsigned how = 0; how < 4; ++how) {
        CAPTURE(how);
        pf::pool pool{{.workers = 2}};
        REQUIRE_THROWS_AS(pool.submit(scribble, how).get_for(20s), pf::worker_lost);
        CHECK(pool.submit(say, static_cast<int>(how)).get_for(20s) == static_cast<int>(how));
        CHECK(pf::test::until(
            [&] { return contains(lines.texts(), "number " + std::to_string(how)); }));
        CHECK(pool.shutdown(10s));
    }
}

TEST_CASE("a handler that throws is called again, and the pool doesn't notice") {
    const pf::test::leaks none_left;
    std::atomic<int> calls{0};
    pf::set_log_handler([&](const pf::log_record&) {
        ++calls;
        throw 1;
    });
    {
        pf::pool pool{{.workers = 1}};
        for (int i = 0; i < 10; ++i) CHECK(pool.submit(say, i).get() == i);
        REQUIRE_THROWS_AS(pool.submit(say_and_die, 2).get(), pf::worker_lost);
    }
    pf::set_log_handler({});
    CHECK(calls == 12);
}

TEST_CASE("a handler may submit to the pool whose line it gets") {
    const pf::test::leaks none_left;
    std::atomic<pf::pool*> to{nullptr};
    std::atomic<int> submitted{0};
    pf::set_log_handler([&](const pf::log_record&) {
        pf::pool* const pool = to;
        if (pool == nullptr || ++submitted > 10) return;
        static_cast<void>(pool->submit(say, 1));
    });
    {
        pf::pool pool{{.workers = 1}};
        to = &pool;
        CHECK(pool.submit(say, 0).get() == 0);
        CHECK(pf::test::until([&] { return submitted >= 11; }));
        to = nullptr;
    }
    pf::set_log_handler({});
}

TEST_CASE("two pools keep their lines apart") {
    const pf::test::leaks none_left;
    log_lines lines;
    {
        pf::pool first{{.workers = 1, .name = "first"}};
        pf::pool second{{.workers = 1, .name = "second"}};
        auto one = first.submit(say_many, 100, 0);
        auto two = second.submit(say_many, 100, 1000);
        one.get();
        two.get();
    }
    int next_first = 0;
    int next_second = 1000;
    for (const auto& each : lines.all()) {
        int& next = each.pool == "first" ? next_first : next_second;
        CHECK(each.text == std::to_string(next++));
    }
    CHECK(next_first == 100);
    CHECK(next_second == 1100);
}

TEST_CASE("an inline run calls the handler directly") {
    log_lines lines;
    pf::pool pool{{.workers = pf::inline_workers, .name = "none"}};
    CHECK(pool.submit(say, 3).get() == 3);
    REQUIRE(lines.size() == 1);
    CHECK(lines.all()[0].pool == "");
    CHECK(lines.all()[0].pid == ::getpid());
}

TEST_CASE("lines of a start hook that fails come before the error of the constructor") {
    const pf::test::leaks none_left;
    log_lines lines;
    const auto fail = [] {
        pf::log(pf::level::error, "no database at {}", "db:5432");
        throw std::runtime_error("no database");
    };
    REQUIRE_THROWS_AS(pf::pool({.workers = 1, .on_worker_start = fail}), pf::worker_start_failed);
    CHECK(lines.texts() == strings{"no database at db:5432"});
}

TEST_CASE("workers of a new fork server are heard too") {
    const pf::test::leaks none_left;
    log_lines lines;
    const std::string name = std::string(1, 's').append(std::to_string(::getpid() % 1000));
    pf::pool pool{{.workers = 1, .retries = 5, .name = name}};
    const pid_t server = pool.submit([] { return ::getppid(); }).get();
    ::kill(server, SIGKILL);
    REQUIRE(pf::test::until([&] {
        auto parent = pool.submit([] { return ::getppid(); });
        return parent.get_for(10s) != server;
    }));
    CHECK(pool.submit(say, 5).get_for(10s) == 5);
    CHECK(pf::test::until([&] { return contains(lines.texts(), "number 5"); }));
}

TEST_CASE("a process that a task forks writes to standard error, not into the worker's ring") {
    log_lines lines;
    pf::pool pool{{.workers = 1}};
    const auto fork_and_say = [] {
        const pid_t child = ::fork();
        if (child == 0) {
            const pf::base::unique_fd null{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
            ::dup2(null.get(), STDERR_FILENO);
            pf::log(pf::level::info, "from a child");
            ::_exit(0);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        pf::log(pf::level::info, "from its parent");
        return status;
    };
    CHECK(pool.submit(fork_and_say).get() == 0);
    pool.shutdown(10s);
    CHECK(lines.texts() == strings{"from its parent"});
}

TEST_CASE("lines of a worker killed at random instants are whole, and in order") {
    const pf::test::leaks none_left;
    log_lines lines;
    {
        pf::pool pool{{.workers = 2}};
        for (int round = 0; round < 30; ++round) {
            auto one = pool.submit(say_many, 100'000, round * 100'000);
            static_cast<void>(pf::test::until([&] { return !lines.texts().empty(); }, 5ms));
            for (const auto& worker : pool.stats().workers) ::kill(worker.pid, SIGKILL);
            try {
                static_cast<void>(one.get_for(20s));
            } catch (const pf::worker_lost& e) {
                CHECK(e.killed_by() == pf::killer::stranger);
            }
        }
    }
    pid_t last_pid = 0;
    int last = -1;
    for (const auto& each : lines.all()) {
        if (each.text.find("dropped") != each.text.npos) continue;
        const int number = std::stoi(each.text);
        REQUIRE(each.text == std::to_string(number));
        if (each.pid == last_pid) REQUIRE(number > last);
        last_pid = each.pid;
        last = number;
    }
}

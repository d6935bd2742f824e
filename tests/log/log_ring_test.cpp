#include "log/log_ring.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/fail_point.hpp"
#include "base/unique_fd.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"

namespace pf = prefork;
using namespace pf::logging;
using pf::level;
using pf::base::fail_point;
using namespace std::chrono_literals;

namespace {

const std::chrono::system_clock::time_point noon{1'000'000s};

/// A ring in memory that forked processes share, both its ends, and what wakes the reader.
struct ring_here {
    log_ring& ring = *new (::mmap(nullptr, sizeof(log_ring), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0)) log_ring;
    pf::base::unique_fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_writer writer{ring, wake.get()};
    log_reader reader{ring};

    ring_here() { reader.reset(); }
    ~ring_here() { ::munmap(&ring, sizeof ring); }

    std::vector<log_line> take() {
        std::vector<log_line> lines;
        reader.take(lines);
        return lines;
    }
    std::vector<std::string> texts() {
        std::vector<std::string> texts;
        for (log_line& each : take()) texts.push_back(std::move(each.text));
        return texts;
    }
    /// How often it was woken since the last time.
    std::uint64_t wakes() {
        std::uint64_t count = 0;
        return ::read(wake.get(), &count, sizeof count) == sizeof count ? count : 0;
    }
};

using strings = std::vector<std::string>;

}  // namespace

TEST_CASE("what is written is taken out once, in order") {
    ring_here here;
    CHECK(here.texts().empty());
    CHECK(here.writer.write(level::info, noon, "one"));
    CHECK(here.writer.write(level::error, noon + 5ns, ""));
    CHECK(here.writer.write(level::debug, noon, "three of them"));
    const auto lines = here.take();
    REQUIRE(lines.size() == 3);
    CHECK(lines[0].text == "one");
    CHECK(lines[0].time == noon);
    CHECK(lines[1].level == level::error);
    CHECK(lines[1].text == "");
    CHECK(lines[1].time == noon + 5ns);
    CHECK(lines[2].text == "three of them");
    CHECK(here.texts().empty());
}

TEST_CASE("lines of every length go around the ring unharmed") {
    ring_here here;
    std::minstd_rand random{7};
    for (int round = 0; round < 2000; ++round) {
        strings written;
        for (auto left = random() % 8; left > 0; --left) {
            written.emplace_back(random() % (longest_line + 1),
                                 static_cast<char>('a' + round % 26));
            REQUIRE(here.writer.write(level::info, noon, written.back()));
        }
        REQUIRE(here.texts() == written);
    }
}

TEST_CASE("a full ring drops lines, and the reader hears how many") {
    ring_here here;
    const std::string text(longest_line, 'x');
    std::size_t fit = 0;
    while (here.writer.write(level::info, noon, text)) ++fit;
    CHECK(fit == log_ring::capacity / (16 + 1000));
    CHECK_FALSE(here.writer.write(level::info, noon, text));
    auto texts = here.texts();
    REQUIRE(texts.size() == fit + 1);
    CHECK(texts.back() == "2 lines dropped: the log ring was full");
    CHECK(here.writer.write(level::info, noon, text));
    CHECK(here.texts() == strings{text});
}

TEST_CASE("a line that is too long is cut") {
    ring_here here;
    CHECK(here.writer.write(level::info, noon, std::string(5000, 'x')));
    CHECK(here.texts() == strings{std::string(longest_line, 'x')});
}

TEST_CASE("a burst costs one wake") {
    ring_here here;
    CHECK(here.reader.fall_asleep());
    for (int i = 0; i < 100; ++i) CHECK(here.writer.write(level::info, noon, "burst"));
    CHECK(here.wakes() == 1);
    CHECK_FALSE(here.reader.fall_asleep());
    CHECK(here.texts().size() == 100);
    CHECK(here.reader.fall_asleep());
    CHECK(here.writer.write(level::info, noon, "later"));
    CHECK(here.wakes() == 1);
}

TEST_CASE("a dropped line wakes too") {
    ring_here here;
    const std::string text(longest_line, 'x');
    while (here.writer.write(level::info, noon, text)) {
    }
    static_cast<void>(here.texts());
    while (here.writer.write(level::info, noon, text)) {
    }
    static_cast<void>(here.wakes());
    CHECK_FALSE(here.reader.fall_asleep());
    CHECK_FALSE(here.writer.write(level::info, noon, text));
    CHECK(here.wakes() == 1);
}

TEST_CASE("a writer that dies inside a line leaves none, and one that dies after it the whole") {
    for (const auto& [place, lines] :
         {std::pair{"log.before_publish", 2u}, {"log.before_wake", 3u}}) {
        CAPTURE(place);
        ring_here here;
        fail_point::arm(place, fail_point::action::die, 3);
        const auto end = pf::test::in_child([&] {
            log_writer writer{here.ring, here.wake.get()};
            for (int i = 0; i < 5; ++i) writer.write(level::info, noon, "line");
            return 0;
        });
        fail_point::disarm();
        CHECK(end.signal == SIGKILL);
        CHECK(here.texts() == strings(lines, "line"));
    }
}

TEST_CASE("a writer that is killed at random instants leaves whole lines only") {
    std::minstd_rand random{11};
    for (int round = 0; round < 50; ++round) {
        ring_here here;
        const pid_t child = pf::test::fork_child([&] {
            log_writer writer{here.ring, here.wake.get()};
            for (std::size_t i = 0;; ++i) {
                writer.write(level::info, noon,
                             std::string(i % 900, static_cast<char>('a' + i % 26)));
            }
            return 0;
        });
        std::vector<std::string> texts;
        const auto end =
            std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 3000);
        while (std::chrono::steady_clock::now() < end) {
            for (auto& each : here.texts()) texts.push_back(std::move(each));
        }
        ::kill(child, SIGKILL);
        static_cast<void>(pf::test::wait_for_child(child));
        for (auto& each : here.texts()) texts.push_back(std::move(each));
        for (const std::string& each : texts) {
            if (each.find("dropped") != each.npos) continue;
            REQUIRE(each == std::string(each.size(), each.empty() ? 'a' : each[0]));
        }
    }
}

TEST_CASE("threads of a worker share its ring") {
    ring_here here;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            for (int n = 0; n < 50; ++n) {
                here.writer.write(level::info, noon, std::string(20, static_cast<char>('a' + i)));
            }
        });
    }
    for (auto& each : threads) each.join();
    const auto texts = here.texts();
    CHECK(texts.size() == 200);
    for (const std::string& each : texts) CHECK(each == std::string(20, each[0]));
}

TEST_CASE("wild positions, lengths and levels cost lines, and the ring goes on") {
    ring_here here;
    const auto goes_on = [&] {
        static_cast<void>(here.take());
        CHECK(here.writer.write(level::info, noon, "alive"));
        CHECK(here.texts() == strings{"alive"});
    };
    SECTION("written") {
        for (const std::uint64_t wild :
             {std::uint64_t{1}, std::uint64_t{17}, ~std::uint64_t{0}, std::uint64_t{1} << 63,
              std::uint64_t{log_ring::capacity}, std::uint64_t{log_ring::capacity} + 1}) {
            CAPTURE(wild);
            here.ring.written = wild;
            const auto texts = here.texts();
            CHECK(texts.size() <= log_ring::capacity / sizeof(record_head) + 1);
            goes_on();
        }
    }
    SECTION("a length") {
        for (const std::uint32_t wild : {~0u, 1u << 31, 1001u, 1000u, 9u}) {
            CAPTURE(wild);
            const auto begin = here.ring.written.load();
            REQUIRE(here.writer.write(level::info, noon, "12345678"));
            const auto at = (begin + offsetof(record_head, size)) % log_ring::capacity;
            std::memcpy(here.ring.bytes.data() + at, &wild, sizeof wild);
            CHECK(here.texts() == strings{"lines lost: the worker has written over its log ring"});
            goes_on();
        }
    }
    SECTION("a level") {
        REQUIRE(here.writer.write(level::info, noon, "x"));
        here.ring.bytes[offsetof(record_head, level)] = std::byte{4};
        CHECK(here.texts() == strings{"lines lost: the worker has written over its log ring"});
        goes_on();
    }
    SECTION("what the host has read") {
        here.ring.read = 12345;
        CHECK_FALSE(here.writer.write(level::info, noon, "no room"));
        CHECK(here.texts() == strings{"1 line dropped: the log ring was full"});
        goes_on();
    }
    SECTION("the count of the dropped") {
        here.ring.dropped = ~std::uint64_t{0};
        CHECK(here.texts().size() == 1);
        goes_on();
    }
}

TEST_CASE("a ring of random bytes gives the reader lines that are no longer than lines can be") {
    std::minstd_rand random{3};
    for (int round = 0; round < 300; ++round) {
        ring_here here;
        for (std::byte& each : here.ring.bytes) {
            // Small numbers are likely to look like lengths and levels.
            each = static_cast<std::byte>(random() % (round % 2 == 0 ? 256 : 3));
        }
        here.ring.written = random() % (log_ring::capacity + 100);
        for (const log_line& each : here.take()) {
            REQUIRE(each.text.size() <= longest_line);
            REQUIRE(each.level <= level::error);
        }
    }
}

TEST_CASE("a new worker finds an empty ring") {
    ring_here here;
    REQUIRE(here.writer.write(level::info, noon, "old"));
    here.ring.dropped = 5;
    static_cast<void>(here.wakes());
    here.reader.reset();
    CHECK(here.texts().empty());
    CHECK(here.writer.write(level::info, noon, "new"));
    CHECK(here.wakes() == 1);
    CHECK(here.texts() == strings{"new"});
}

TEST_CASE("a process that is forked from the writer's isn't the writer") {
    ring_here here;
    CHECK(here.writer.is_here());
    CHECK(pf::test::in_child([&] { return here.writer.is_here() ? 1 : 0; }).status == 0);
}

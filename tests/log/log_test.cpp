#include "log/log.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "prefork/log.hpp"
#include "support/catch.hpp"
#include "support/log_lines.hpp"

namespace pf = prefork;
using pf::test::log_lines;

namespace {

enum class colour : unsigned char { red = 1, blue = 200 };
enum old_style { minus_two = -2, three = 3 };

/// What log() makes of it.
template <class... Args>
std::string formatted(pf::log_format<Args...> format, const Args&... arguments) {
    log_lines lines;
    pf::log(pf::level::error, format, arguments...);
    return lines.texts().at(0);
}

/// Standard error goes into a pipe while this lives.
class captured_standard_error {
  public:
    captured_standard_error() : before_(::dup(STDERR_FILENO)) {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        read_.reset(ends[0]);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[1]);
    }
    ~captured_standard_error() { ::dup2(before_.get(), STDERR_FILENO); }

    std::string take() {
        char text[4096];
        const auto size = ::read(read_.get(), text, sizeof text);
        return {text, static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
    }

  private:
    pf::base::unique_fd before_;
    pf::base::unique_fd read_;
};

}  // namespace

TEST_CASE("each {} is replaced by an argument, in the form of its type") {
    CHECK(formatted("nothing") == "nothing");
    CHECK(formatted("") == "");
    CHECK(formatted("{} and {}", "one", std::string("two")) == "one and two");
    CHECK(formatted("{}{}", std::string_view("a"), static_cast<const char*>(nullptr)) == "a(null)");
    CHECK(formatted("{} {}", true, false) == "true false");
    CHECK(formatted("{}{}", 'x', '\xff') == "x\xff");
    CHECK(formatted("{} {} {}", 0, -1, 42u) == "0 -1 42");
    CHECK(formatted("{} {}", std::numeric_limits<std::int64_t>::min(),
                    std::numeric_limits<std::uint64_t>::max()) ==
          "-9223372036854775808 18446744073709551615");
    CHECK(formatted("{} {}", static_cast<signed char>(-5), static_cast<unsigned char>(250)) ==
          "-5 250");
    CHECK(formatted("{} {} {}", colour::blue, minus_two, three) == "200 -2 3");
    CHECK(formatted("{} {}", std::byte{7}, ~std::uint64_t{0}) == "7 18446744073709551615");
}

TEST_CASE("floating point has as few digits as read back the same") {
    CHECK(formatted("{} {} {}", 0.1, 0.1f, 0.1L) == "0.1 0.1 0.1");
    CHECK(formatted("{} {} {}", 1.0, -0.0, 1e300) == "1 -0 1e+300");
    CHECK(formatted("{} {}", std::numeric_limits<double>::infinity(), std::nan("")) == "inf nan");
    const double third = 1.0 / 3;
    CHECK(std::stod(formatted("{}", third)) == third);
}

TEST_CASE("pointers are addresses") {
    CHECK(formatted("{}", nullptr) == "0x0");
    CHECK(formatted("{}", reinterpret_cast<void*>(0xbeef)) == "0xbeef");
    CHECK(formatted("{}", reinterpret_cast<volatile int*>(0x10)) == "0x10");
    CHECK(formatted("{}", &formatted<int>).substr(0, 2) == "0x");
}

TEST_CASE("an array of characters ends at its 0, or at its end") {
    const char whole[3] = {'a', 'b', 'c'};
    const char early[8] = "xy";
    char mutable_text[] = "m";
    CHECK(formatted("{} {} {}", whole, early, mutable_text) == "abc xy m");
}

TEST_CASE("{{ and }} are braces") { CHECK(formatted("{{}} {{{}}} }}{{", 1) == "{} {1} }{"); }

TEST_CASE("a long line is cut after a whole character, and says so") {
    CHECK(formatted("{}", std::string(1000, 'x')) == std::string(1000, 'x'));
    CHECK(formatted("{}!", std::string(1000, 'x')) == std::string(997, 'x') + "...");
    std::string euros = "x";
    while (euros.size() < 2000) euros += "\u20ac";
    // 997 bytes end in the middle of one: 1 + 332 * 3 = 997.
    CHECK(formatted("{}", euros) == euros.substr(0, 997) + "...");
    // Piece by piece: gcc 12 at -O3 warns of `"y" + std::string` for no reason (GCC bug 105651).
    CHECK(formatted("{}", std::string(1, 'y').append(euros)) ==
          std::string(1, 'y').append(euros, 0, 994).append("..."));
    CHECK(formatted("{}", std::string(1'000'000, 'z')).size() == 1000);
}

TEST_CASE("lines below the level are dropped") {
    log_lines lines;
    pf::log(pf::level::debug, "too little");
    pf::log(pf::level::info, "enough");
    pf::set_log_level(pf::level::debug);
    pf::log(pf::level::debug, "enough now");
    pf::set_log_level(pf::level::error);
    pf::log(pf::level::warning, "too little now");
    pf::set_log_level(pf::level::info);
    CHECK(lines.texts() == std::vector<std::string>{"enough", "enough now"});
}

TEST_CASE("the handler is told what, when and by whom") {
    const auto before = std::chrono::system_clock::now();
    pf::log_record last;
    pf::set_log_handler([&](const pf::log_record& record) {
        last = record;
        last.text = "";
    });
    pf::log(pf::level::warning, "careful");
    pf::set_log_handler({});
    CHECK(last.level == pf::level::warning);
    CHECK(last.pid == ::getpid());
    CHECK(last.pool == "");
    CHECK_FALSE(last.worker.has_value());
    CHECK(last.time >= before);
    CHECK(last.time <= std::chrono::system_clock::now());
}

TEST_CASE("setting a handler returns the former") {
    int calls = 0;
    CHECK_FALSE(pf::set_log_handler([&](const pf::log_record&) { ++calls; }));
    const pf::log_handler former = pf::set_log_handler({});
    REQUIRE(former);
    former({});
    CHECK(calls == 1);
}

TEST_CASE("what a handler throws is swallowed, and what it logs goes to standard error") {
    int calls = 0;
    captured_standard_error captured;
    pf::set_log_handler([&](const pf::log_record&) {
        ++calls;
        pf::log(pf::level::error, "again");
        throw std::runtime_error("no disk");
    });
    pf::log(pf::level::info, "first");
    pf::log(pf::level::info, "second");
    pf::set_log_handler({});
    CHECK(calls == 2);
    CHECK(captured.take() == "prefork: [error] again\nprefork: [error] again\n");
}

TEST_CASE("the default handler writes one line on standard error") {
    captured_standard_error captured;
    pf::log(pf::level::info, "ready");
    CHECK(captured.take() == "prefork: [info] ready\n");
    pf::logging::deliver({pf::level::warning, "two\nlines \x1b[2J", 1, "render", 3, {}, {}});
    CHECK(captured.take() == "prefork: [warning] render/3: two lines  [2J\n");
    const std::string name(500, 'n');
    const std::string text(1000, 't');
    pf::logging::deliver({pf::level::error, text, 1, name, 255, {}, {}});
    CHECK(captured.take() == "prefork: [error] " + name.substr(0, 100) + "/255: " + text + "\n");
}

TEST_CASE("threads may log while the handler is changed") {
    std::atomic<int> seen{0};
    const auto count = [&](const pf::log_record&) { ++seen; };
    pf::set_log_handler(count);
    {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([] {
                for (int n = 0; n < 1000; ++n) pf::log(pf::level::info, "{}", n);
            });
        }
        for (int i = 0; i < 100; ++i) pf::set_log_handler(count);
        for (auto& each : threads) each.join();
    }
    pf::set_log_handler({});
    CHECK(seen == 4000);
}

#include "codec/exception_codec.hpp"

#include <any>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>
#include <typeinfo>
#include <variant>

#include "prefork/error.hpp"
#include "support/catch.hpp"

using namespace prefork;
using namespace prefork::detail;

namespace {

template <class Thrown>
std::exception_ptr carried(const Thrown& thrown, std::size_t limit = 1000) {
    std::string bytes;
    try {
        throw thrown;
    } catch (...) {
        bytes = encode_current_exception(limit);
    }
    return decode_exception(std::as_bytes(std::span{bytes}));
}

/// Whether a handler for Wanted takes the exception, and what it is told.
template <class Wanted>
std::optional<std::string> caught_as(const std::exception_ptr& thrown) {
    try {
        std::rethrow_exception(thrown);
    } catch (const Wanted& e) {
        return e.what();
    } catch (...) {
        return std::nullopt;
    }
}

struct never_thrown : std::exception {};

template <class E>
void check_arrives(const E& thrown) {
    const std::exception_ptr got = carried(thrown);
    const std::string what = thrown.what();
    CAPTURE(what);
    CHECK(caught_as<E>(got) == what);
    CHECK(caught_as<task_error>(got) == what);
    CHECK(caught_as<error>(got) == what);
    CHECK(caught_as<std::exception>(got) == what);
    CHECK_FALSE(caught_as<never_thrown>(got));
}

struct unparsable : std::out_of_range {
    using std::out_of_range::out_of_range;
};

}  // namespace

TEST_CASE("a standard exception arrives as itself, as task_error and as std::exception") {
    check_arrives(std::logic_error("a"));
    check_arrives(std::invalid_argument("b"));
    check_arrives(std::domain_error("c"));
    check_arrives(std::length_error("d"));
    check_arrives(std::out_of_range("e"));
    check_arrives(std::runtime_error("f"));
    check_arrives(std::range_error("g"));
    check_arrives(std::overflow_error("h"));
    check_arrives(std::underflow_error("i"));
    check_arrives(std::system_error(ENOENT, std::generic_category(), "open"));
    check_arrives(std::bad_alloc());
    check_arrives(std::bad_cast());
    check_arrives(std::bad_function_call());
    check_arrives(std::bad_optional_access());
    check_arrives(std::bad_variant_access());
    check_arrives(std::bad_array_new_length());
    check_arrives(std::bad_any_cast());
    check_arrives(std::bad_typeid());
    check_arrives(std::bad_weak_ptr());
    check_arrives(std::bad_exception());
    check_arrives(std::ios_base::failure("h", std::make_error_code(std::io_errc::stream)));
    check_arrives(std::future_error(std::future_errc::broken_promise));
    check_arrives(std::regex_error(std::regex_constants::error_brack));
    check_arrives(std::filesystem::filesystem_error("i", "/from", "/to",
                                                    std::make_error_code(std::errc::file_exists)));
    CHECK(caught_as<std::bad_alloc>(carried(std::bad_array_new_length())));
    CHECK(caught_as<std::bad_cast>(carried(std::bad_any_cast())));
    CHECK(caught_as<std::system_error>(carried(std::ios_base::failure("j"))));
    CHECK(caught_as<std::logic_error>(carried(std::out_of_range("e"))) == "e");
    CHECK(caught_as<std::runtime_error>(carried(std::range_error("g"))) == "g");
}

TEST_CASE("a system_error keeps its code and category") {
    try {
        std::rethrow_exception(carried(std::system_error(EACCES, std::system_category(), "open")));
    } catch (const std::system_error& e) {
        CHECK(e.code() == std::error_code(EACCES, std::system_category()));
        return;
    }
    FAIL("not a system_error");
}

TEST_CASE("what a standard exception holds arrives with it") {
    const auto ends = [](const auto& thrown, auto check) {
        try {
            std::rethrow_exception(carried(thrown));
        } catch (const std::remove_cvref_t<decltype(thrown)>& e) {
            check(e);
            return;
        }
        FAIL("another type");
    };
    namespace fs = std::filesystem;
    const std::error_code exists = std::make_error_code(std::errc::file_exists);
    ends(fs::filesystem_error("move", "/from", "/to", exists), [&](const auto& e) {
        CHECK(e.path1() == "/from");
        CHECK(e.path2() == "/to");
        CHECK(e.code() == exists);
    });
    ends(std::ios_base::failure("read", std::make_error_code(std::io_errc::stream)),
         [](const auto& e) { CHECK(e.code() == std::io_errc::stream); });
    ends(std::future_error(std::future_errc::no_state),
         [](const auto& e) { CHECK(e.code() == std::future_errc::no_state); });
    ends(std::regex_error(std::regex_constants::error_range),
         [](const auto& e) { CHECK(e.code() == std::regex_constants::error_range); });
}

TEST_CASE("a category of the user's own arrives by its name, the error with its number") {
    struct : std::error_category {
        [[nodiscard]] const char* name() const noexcept override { return "printer"; }
        [[nodiscard]] std::string message(int) const override { return "on fire"; }
    } const printer;
    const auto got = carried(std::system_error(3, printer, "lp0"));
    CHECK(caught_as<std::system_error>(got) == "lp0: on fire");
    CHECK(caught_as<task_error>(got) == "lp0: on fire");
    const auto code_of = [](const std::exception_ptr& thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const std::system_error& e) {
            return e.code();
        }
    };
    const std::error_code code = code_of(got);
    CHECK(code.value() == 3);
    CHECK(code.category().name() == std::string("printer"));
    // One object a name, so that codes can be compared.
    CHECK(code == code_of(carried(std::system_error(3, printer, "lp1"))));
}

TEST_CASE("a class derived from a standard exception arrives as its base and names itself") {
    const auto got = carried(unparsable("line 3"));
    CHECK(caught_as<std::out_of_range>(got) == "line 3");
    try {
        std::rethrow_exception(got);
    } catch (const task_error& e) {
        CHECK(e.type_name().find("unparsable") != std::string::npos);
    }
}

TEST_CASE("what is no exception class arrives as task_error with its type's name") {
    try {
        std::rethrow_exception(carried(42));
    } catch (const task_error& e) {
        CHECK(e.type_name() == "int");
        CHECK(std::string(e.what()) == "the task threw int");
        return;
    }
    FAIL("not a task_error");
}

TEST_CASE("an exception can be kept, and rethrown in another thread") {
    const auto got = carried(std::out_of_range("far away"));
    std::optional<std::string> there;
    std::thread{[&] { there = caught_as<std::out_of_range>(got); }}.join();
    CHECK(there == "far away");
    CHECK(caught_as<std::exception>(got) == "far away");
}

TEST_CASE("a message longer than the room for it is cut, and keeps its type") {
    const auto got = carried(std::out_of_range(std::string(10'000, 'x')), 500);
    const auto what = caught_as<std::out_of_range>(got);
    REQUIRE(what);
    CHECK(*what == std::string(250, 'x'));
}

TEST_CASE("truncated or altered bytes end in an exception and in nothing worse") {
    std::string bytes;
    try {
        throw std::out_of_range("some message");
    } catch (...) {
        bytes = encode_current_exception(1000);
    }
    for (std::size_t size = 1; size < bytes.size(); ++size) {
        CHECK(
            caught_as<decode_error>(decode_exception(std::as_bytes(std::span{bytes}.first(size)))));
    }
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (const int change : {1, 0x80, 0xff}) {
            std::string altered = bytes;
            altered[at] = static_cast<char>(altered[at] ^ change);
            CHECK(decode_exception(std::as_bytes(std::span{altered})) != nullptr);
        }
    }
}

TEST_CASE("a regex_error with a code that no regex_error has arrives without it") {
    std::string bytes;
    try {
        throw std::regex_error(std::regex_constants::error_brack);
    } catch (...) {
        bytes = encode_current_exception(1000);
    }
    const std::int32_t code = 0x7fffffff;
    std::memcpy(bytes.data() + sizeof(std::uint32_t), &code, sizeof code);
    const std::exception_ptr got = decode_exception(std::as_bytes(std::span{bytes}));
    CHECK_FALSE(caught_as<std::regex_error>(got));
    CHECK(caught_as<task_error>(got));
}

#include "codec/exception_codec.hpp"

#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
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

template <class E>
void check_arrives(const E& thrown) {
    const std::exception_ptr got = carried(thrown);
    const std::string what = thrown.what();
    CAPTURE(what);
    CHECK(caught_as<E>(got) == what);
    CHECK(caught_as<task_error>(got) == what);
    CHECK(caught_as<error>(got) == what);
    CHECK(caught_as<std::exception>(got) == what);
    CHECK_FALSE(caught_as<std::bad_typeid>(got));
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

#include "process/source_lines.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "base/unique_fd.hpp"
#include "support/catch.hpp"

using namespace prefork;
using namespace prefork::process;

namespace {

std::uint64_t inner_address = 0;

// Where this function's caller goes on, less one: as a frame of a trace.
__attribute__((noinline)) void note_address() {
    inner_address = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1;
}

[[gnu::always_inline]] inline void put_into_its_caller() {
    note_address();
    asm volatile("");
}

constexpr unsigned line_of_call = __LINE__ + 2;
__attribute__((noinline)) void calls_it() {
    put_into_its_caller();
    asm volatile("");
}

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

TEST_CASE("an inlined function and the one that it was put into have files and lines") {
    calls_it();
    const auto object = object_at(inner_address);
    REQUIRE(object);
    source_lines lines;
    const base::unique_fd file{::open(object->path.c_str(), O_RDONLY | O_CLOEXEC)};
    const auto found = lines.at(*object, file.get(), inner_address);
    if (!has_source_lines() || found.empty()) {
        std::puts(has_source_lines() ? "this program was built without debug information"
                                     : "libdw.so.1 is not here");
        std::fflush(stdout);  // _exit() would not
        ::_exit(77);
    }
    CHECK(ends_with(found[0].file, "process/source_lines_test.cpp"));
    CHECK(found[0].line == line_of_call - 6);
#ifdef __clang__
    return;  // libdw 0.188 finds no functions in what clang 14 writes of them
#endif
    REQUIRE(found.size() == 2);
    CHECK(found[0].inlined);
    CHECK(found[0].function.find("put_into_its_caller") != std::string::npos);
    CHECK_FALSE(found[1].inlined);
    CHECK(found[1].function.find("calls_it") != std::string::npos);
    CHECK(ends_with(found[1].file, "process/source_lines_test.cpp"));
    CHECK(found[1].line == line_of_call);
    // The session is kept: a second question has the same answer, and the file is still ours.
    CHECK(lines.at(*object, file.get(), inner_address).size() == 2);
    CHECK(::fcntl(file.get(), F_GETFD) >= 0);
}

TEST_CASE("an object without a file has no lines") {
    const auto object = object_at(reinterpret_cast<std::uintptr_t>(&calls_it));
    REQUIRE(object);
    source_lines lines;
    CHECK(lines.at(*object, -1, object->begin).empty());
}

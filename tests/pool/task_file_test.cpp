#include "pool/task_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <system_error>

#include "prefork/error.hpp"
#include "support/catch.hpp"

using namespace prefork;
using detail::read_task;
using detail::saved_task;
namespace fs = std::filesystem;

namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
    const auto* const first = reinterpret_cast<const std::byte*>(text.data());
    return {first, first + text.size()};
}

/// A name in a folder of its own, which goes with it.
struct temporary_file {
    fs::path folder = fs::temp_directory_path() / ("prefork-task-" + std::to_string(::getpid()));
    std::string path = (folder / "crash.task").string();
    temporary_file() { fs::create_directories(folder); }
    ~temporary_file() { fs::remove_all(folder); }
    std::vector<std::byte> read() const {
        std::ifstream file{path, std::ios::binary};
        return bytes_of({std::istreambuf_iterator<char>{file}, {}});
    }
};

struct example {
    std::vector<std::byte> arguments = bytes_of(std::string(64, 'a'));
    std::vector<std::byte> array = bytes_of("an array");
    saved_task task;
    example() {
        task.program = "/bin/program";
        task.program_build = std::string("\x01\0\xff", 3);
        task.function = {"/bin/program", task.program_build, 0x123456789abc};
        task.code = detail::code_place{"/lib/library.so", "id", 7};
        task.code_at = 8;
        task.name = "parse(int)";
        task.label = "GET /users";
        task.seed = ~std::uint64_t{0};
        task.number = 5;
        task.attempt = 3;
        task.timeout = std::chrono::nanoseconds(12345);
        task.what = "worker 0 lost";
        task.stack_trace = "a\nb";
        task.arguments = arguments;
        task.arrays = {array, {}};
        task.array_places = {{16, 0}, {48, 1}};
    }
};

}  // namespace

TEST_CASE("a task that was written is read as it was") {
    const temporary_file file;
    const example made;
    detail::write_task_file(file.path, made.task);
    const auto bytes = file.read();
    const saved_task read = read_task(bytes);
    CHECK(read.program == made.task.program);
    CHECK(read.program_build == made.task.program_build);
    CHECK(read.function == made.task.function);
    CHECK(read.code == made.task.code);
    CHECK(read.code_at == made.task.code_at);
    CHECK(read.name == made.task.name);
    CHECK(read.label == made.task.label);
    CHECK(read.seed == made.task.seed);
    CHECK(read.number == made.task.number);
    CHECK(read.attempt == made.task.attempt);
    CHECK(read.timeout == made.task.timeout);
    CHECK(read.what == made.task.what);
    CHECK(read.stack_trace == made.task.stack_trace);
    CHECK(std::vector(read.arguments.begin(), read.arguments.end()) == made.arguments);
    CHECK(read.array_places == made.task.array_places);
    REQUIRE(read.arrays.size() == 2);
    CHECK(std::vector(read.arrays[0].begin(), read.arrays[0].end()) == made.array);
    CHECK(read.arrays[1].empty());
}

TEST_CASE("numbers are little-endian, and stand where the format says") {
    const temporary_file file;
    detail::write_task_file(file.path, example{}.task);
    const auto bytes = file.read();
    const auto head =
        bytes_of(std::string("prefork task\1\0\0\0\x0c\0\0\0\0\0\0\0/bin/program", 36));
    REQUIRE(bytes.size() > head.size());
    CHECK(std::equal(head.begin(), head.end(), bytes.begin()));
}

TEST_CASE("only its owner can read a saved task, and nothing else is left beside it") {
    const temporary_file file;
    std::ofstream{file.path} << "something older, and longer than what replaces it";
    detail::write_task_file(file.path, example{}.task);
    struct stat about {};
    REQUIRE(::stat(file.path.c_str(), &about) == 0);
    CHECK((about.st_mode & 0777) == 0600);
    CHECK(std::distance(fs::directory_iterator{file.folder}, {}) == 1);
    CHECK_NOTHROW(read_task(file.read()));
}

TEST_CASE("a file that can't be written is named with its cause") {
    try {
        detail::write_task_file("/nowhere/crash.task", example{}.task);
        FAIL("it was written");
    } catch (const std::system_error& e) {
        CHECK(e.code().value() == ENOENT);
        CHECK(std::string(e.what()).find("/nowhere/crash.task: open") != std::string::npos);
    }
}

TEST_CASE("a file that ends anywhere, or has more behind its end, is refused") {
    const temporary_file file;
    detail::write_task_file(file.path, example{}.task);
    auto bytes = file.read();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK_THROWS_AS(read_task(std::span{bytes}.first(size)), decode_error);
    }
    bytes.emplace_back();
    CHECK_THROWS_AS(read_task(bytes), decode_error);
    CHECK_THROWS_AS(read_task(bytes_of("#!/bin/sh")), decode_error);
}

TEST_CASE("a place outside of the arguments, or of no array, is refused") {
    const temporary_file file;
    const auto refused = [&](const saved_task& task) {
        detail::write_task_file(file.path, task);
        const auto bytes = file.read();
        CHECK_THROWS_AS(read_task(bytes), decode_error);
    };
    for (const std::uint64_t at : {std::uint64_t{64}, std::uint64_t{57}, std::uint64_t{3},
                                   ~std::uint64_t{0} - 7, std::uint64_t{1} << 63}) {
        example wrong;
        wrong.task.code_at = at;
        refused(wrong.task);
        wrong.task.code_at = 8;
        wrong.task.array_places[0].at = at;
        refused(wrong.task);
    }
    example wrong;
    wrong.task.array_places[1].array = 2;
    refused(wrong.task);
    wrong.task.array_places[1].array = 0;
    wrong.task.code.reset();
    refused(wrong.task);
}

// Under AddressSanitizer a read outside is a failure too.
TEST_CASE("no damage to a file makes its reader do anything but refuse it or read it") {
    const temporary_file file;
    detail::write_task_file(file.path, example{}.task);
    const auto good = file.read();
    std::mt19937_64 random{1};
    std::size_t refused = 0;
    for (int round = 0; round < 20'000; ++round) {
        auto bytes = good;
        for (auto left = 1 + random() % 4; left > 0; --left) {
            bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        }
        try {
            static_cast<void>(read_task(bytes));
        } catch (const decode_error&) {
            ++refused;
        }
    }
    CHECK(refused > 1000);
}

#include "process/memory_use.hpp"

#include <unistd.h>

#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/until.hpp"

using namespace prefork::process;

namespace {

constexpr std::size_t much = std::size_t{32} << 20;

}  // namespace

TEST_CASE("memory that is written counts, and does not when it is given back") {
    const std::uint64_t before = private_memory(::getpid());
    CHECK(before > 0);
    {
        const std::vector<char> memory(much, 'x');
        CHECK(private_memory(::getpid()) >= before + much);
    }
#ifndef __SANITIZE_ADDRESS__  // it keeps freed memory for a while
    CHECK(private_memory(::getpid()) < before + much);
#endif
}

TEST_CASE("a family has the memory of its children too") {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = prefork::test::fork_child([&] {
        const std::vector<char> memory(much, 'x');
        static_cast<void>(prefork::base::write_all(ready[1], "r", 1));
        for (;;) ::pause();
        return static_cast<int>(memory[0]);
    });
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK(family_memory(::getpid()) >= private_memory(::getpid()) + much);
    CHECK(family_memory(::getpid(), since_boot() - std::chrono::hours(1)) >=
          private_memory(::getpid()) + much);
    // The child was forked before now, sooner or later; the kernel tells starts to 10 ms.
    CHECK(prefork::test::until([] {
        return family_memory(::getpid(), since_boot()) < private_memory(::getpid()) + much;
    }));
    ::kill(child, SIGKILL);
    CHECK(prefork::test::wait_for_child(child).signal == SIGKILL);
    CHECK(private_memory(child) == 0);
    for (const int fd : ready) ::close(fd);
}

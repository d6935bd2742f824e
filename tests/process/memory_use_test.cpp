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

/// Holds so many bytes of its own from when it is made until it is ended.
class waiting_child {
  public:
    explicit waiting_child(std::size_t bytes) {
        REQUIRE(::pipe(ready_) == 0);
        pid_ = prefork::test::fork_child([&] {
            const std::vector<char> memory(bytes, 'x');
            static_cast<void>(prefork::base::write_all(ready_[1], "r", 1));
            for (;;) ::pause();
            return static_cast<int>(memory.size());
        });
        char byte = 0;
        REQUIRE(::read(ready_[0], &byte, 1) == 1);
    }
    ~waiting_child() {
        for (const int fd : ready_) ::close(fd);
    }
    waiting_child(const waiting_child&) = delete;
    waiting_child& operator=(const waiting_child&) = delete;

    void end() const {
        ::kill(pid_, SIGKILL);
        CHECK(prefork::test::wait_for_child(pid_).signal == SIGKILL);
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    int ready_[2];
    pid_t pid_ = 0;
};

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
    const waiting_child child{much};
    CHECK(family_memory_at_most(::getpid()) >= private_memory(::getpid()) + much);
    CHECK(family_memory(::getpid()) >= private_memory(::getpid()) + much);
    CHECK(family_memory(::getpid(), since_boot() - std::chrono::hours(1)) >=
          private_memory(::getpid()) + much);
    // The child was forked before now, sooner or later; the kernel tells starts to 10 ms.
    CHECK(prefork::test::until([] {
        return family_memory(::getpid(), since_boot()) < private_memory(::getpid()) + much;
    }));
    child.end();
    CHECK(private_memory(child.pid()) == 0);
}

TEST_CASE("what children share with their parent counts once") {
    const std::vector<char> memory(much, 'x');
    const waiting_child one{0};
    const waiting_child other{0};
    CHECK(family_memory_at_most(::getpid()) >= private_memory(::getpid()) + 2 * much);
    CHECK(family_memory(::getpid()) < private_memory(::getpid()) + much);
    one.end();
    other.end();
    CHECK(memory[much / 2] == 'x');
}

#include "support/leaks.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/system_call.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"

using prefork::base::unique_fd;
using prefork::test::leaks;
using prefork::test::until;

namespace {

bool names(const std::string& text, const std::string& word) {
    return text.find(word) != std::string::npos;
}

}  // namespace

TEST_CASE("where nothing was left, nothing is found") {
    const leaks guard;
    CHECK(guard.left() == "");
}

TEST_CASE("a descriptor that is open is found, until it is closed") {
    const leaks guard;
    unique_fd fd{::eventfd(0, EFD_CLOEXEC)};
    CHECK(names(guard.left(), "descriptor " + std::to_string(fd.get()) + ": anon_inode:[eventfd]"));
    fd.reset();
    CHECK(guard.left() == "");
}

TEST_CASE("a descriptor that was open before is not found, but one more of the same file is") {
    const unique_fd before{::eventfd(0, EFD_CLOEXEC)};
    const leaks guard;
    CHECK(guard.left() == "");
    const unique_fd after{::dup(before.get())};
    CHECK(names(guard.left(), "descriptor " + std::to_string(after.get())));
}

TEST_CASE("a mapped memfd is found, though its descriptor is closed, and once for all its parts") {
    const leaks guard;
    unique_fd fd = prefork::base::memfd_create("left", MFD_CLOEXEC);
    REQUIRE(::ftruncate(fd.get(), 1 << 20) == 0);
    void* const at = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    REQUIRE(at != MAP_FAILED);
    ::mprotect(at, 1 << 16, PROT_READ);
    fd.reset();
    const std::string left = guard.left();
    CHECK(left.rfind("mapping /memfd:left (deleted), inode ", 0) == 0);
    CHECK(left.find('\n') == left.size() - 1);
    ::munmap(at, 1 << 20);
    CHECK(guard.left() == "");
}

TEST_CASE("a child is found, dead or alive, until it is reaped") {
    const leaks guard;
    const pid_t child = prefork::test::fork_child([] { return 0; });
    CHECK(names(guard.left(), "child " + std::to_string(child)));
    siginfo_t end{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &end, WEXITED | WNOWAIT) == 0);
    CHECK(names(guard.left(), "child " + std::to_string(child)));
    ::waitid(P_PID, static_cast<id_t>(child), &end, WEXITED);
    CHECK(guard.left() == "");
}

TEST_CASE("a thread is found, until it has ended") {
    const leaks guard;
    unique_fd event{::eventfd(0, EFD_CLOEXEC)};
    std::thread other{[&] {
        static_cast<void>(prefork::base::wait_readable(event.get(), prefork::base::never));
    }};
    CHECK(names(guard.left(), "thread "));
    ::eventfd_write(event.get(), 1);
    other.join();
    event.reset();
    CHECK(until([&] { return guard.left().empty(); }));
}

TEST_CASE("a name of ours in /dev/shm is found") {
    const std::string name = "/prefork-leaks-test-" + std::to_string(::getpid());
    const leaks guard;
    unique_fd fd{::shm_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (!fd) return;  // a sandbox without /dev/shm has none to leave there
    fd.reset();
    CHECK(guard.left() == "name /dev/shm" + name + "\n");
    ::shm_unlink(name.c_str());
    CHECK(guard.left() == "");
}

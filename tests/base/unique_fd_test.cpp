#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <type_traits>
#include <utility>

#include "support/catch.hpp"
#include "support/leaks.hpp"

using prefork::base::unique_fd;

namespace {

unique_fd make() { return unique_fd{::eventfd(0, EFD_CLOEXEC)}; }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

static_assert(!std::is_copy_constructible_v<unique_fd> && !std::is_copy_assignable_v<unique_fd>);
static_assert(std::is_nothrow_move_constructible_v<unique_fd>);
static_assert(std::is_nothrow_move_assignable_v<unique_fd>);

}  // namespace

TEST_CASE("a descriptor is open as long as its owner lives") {
    const prefork::test::leaks guard;
    int number = -1;
    {
        const unique_fd fd = make();
        number = fd.get();
        CHECK(bool(fd));
        CHECK(is_open(number));
    }
    CHECK_FALSE(is_open(number));
}

TEST_CASE("an owner of nothing closes nothing") {
    unique_fd none;
    CHECK_FALSE(bool(none));
    CHECK(none.get() == -1);
    CHECK(none.release() == -1);
    none.reset();
    CHECK_FALSE(bool(none));
}

TEST_CASE("zero is a descriptor like any other") {
    unique_fd zero{0};
    CHECK(bool(zero));
    CHECK(zero.release() == 0);
}

TEST_CASE("a descriptor that moves has one owner, and stays open") {
    const prefork::test::leaks guard;
    unique_fd first = make();
    const int number = first.get();
    unique_fd second{std::move(first)};
    CHECK_FALSE(bool(first));
    CHECK(second.get() == number);
    CHECK(is_open(number));
}

TEST_CASE("the owner that another is moved into closes what it had") {
    const prefork::test::leaks guard;
    unique_fd first = make();
    unique_fd second = make();
    const int gone = second.get();
    const int kept = first.get();
    second = std::move(first);
    CHECK(second.get() == kept);
    CHECK(is_open(kept));
    CHECK_FALSE(is_open(gone));
    CHECK_FALSE(bool(first));
}

TEST_CASE("an owner moved into itself keeps what it has") {
    unique_fd fd = make();
    unique_fd& same = fd;
    const int number = fd.get();
    fd = std::move(same);
    CHECK(fd.get() == number);
    CHECK(is_open(number));
}

TEST_CASE("what is released is open and nobody's") {
    unique_fd fd = make();
    const int number = fd.release();
    CHECK_FALSE(bool(fd));
    fd.reset();
    CHECK(is_open(number));
    ::close(number);
}

TEST_CASE("reset closes the old one and owns the new one") {
    const prefork::test::leaks guard;
    unique_fd fd = make();
    const int gone = fd.get();
    unique_fd other = make();
    const int kept = other.release();
    fd.reset(kept);
    CHECK_FALSE(is_open(gone));
    CHECK(fd.get() == kept);
    fd.reset();
    CHECK_FALSE(is_open(kept));
}

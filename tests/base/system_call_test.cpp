#include "base/system_call.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"
#include "support/until.hpp"

using namespace std::chrono_literals;
using namespace prefork::base;
using prefork::test::child_end;
using prefork::test::in_child;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

struct pipe_ends {
    pipe_ends() {
        int ends[2];
        checked(::pipe2(ends, O_CLOEXEC), "pipe2");
        read.reset(ends[0]);
        write.reset(ends[1]);
    }
    unique_fd read;
    unique_fd write;
};

void do_nothing(int) {}

/// Sends this thread SIGUSR1 again and again, so that its calls are interrupted (EINTR).
class interruptions {
  public:
    interruptions() {
        struct sigaction action {};
        action.sa_handler = do_nothing;  // without SA_RESTART
        ::sigaction(SIGUSR1, &action, &before_);
        sender_ = std::thread{[this, to = ::pthread_self()] {
            while (!ended_) {
                ::pthread_kill(to, SIGUSR1);
                ++sent_;
            }
        }};
    }
    ~interruptions() {
        ended_ = true;
        sender_.join();
        ::sigaction(SIGUSR1, &before_, nullptr);
    }
    [[nodiscard]] int sent() const { return sent_; }

  private:
    struct sigaction before_ {};
    std::atomic<bool> ended_{false};
    std::atomic<int> sent_{0};
    std::thread sender_;
};

}  // namespace

TEST_CASE("a call that fails becomes an exception with its name and errno") {
    errno = ENOENT;
    REQUIRE_THROWS_WITH(checked(-1, "open"), "open: No such file or directory");
    try {
        throw_system_error(EMFILE, "pipe2");
    } catch (const std::system_error& e) {
        CHECK(e.code() == std::errc::too_many_files_open);
    }
}

TEST_CASE("a call that succeeds gives what it gave") {
    CHECK(checked(0, "call") == 0);
    CHECK(checked(-2, "call") == -2);
    CHECK(checked(std::int64_t{1} << 40, "call") == std::int64_t{1} << 40);
}

TEST_CASE("a memfd is memory without a name that others could open") {
    const prefork::test::leaks guard;
    const unique_fd file = prefork::base::memfd_create("test", MFD_CLOEXEC);
    CHECK(::ftruncate(file.get(), 4096) == 0);
    CHECK((::fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_FALSE(std::filesystem::exists("/dev/shm/test"));
    REQUIRE_THROWS_AS(prefork::base::memfd_create("test", ~0u), std::system_error);
}

// ---- pidfd

TEST_CASE("a pidfd says when its process has ended, and signals it until then") {
    const prefork::test::leaks guard;
    pipe_ends stay;
    const pid_t child = prefork::test::fork_child([&] {
        char never_comes = 0;
        stay.write.reset();
        return static_cast<int>(::read(stay.read.get(), &never_comes, 1));
    });
    const unique_fd pidfd = pidfd_open(child);
    CHECK_FALSE(pidfd_ended(pidfd.get()));
    CHECK_FALSE(pidfd_ended(pidfd.get(), 5ms));
    CHECK(pidfd_send_signal(pidfd.get(), 0));
    CHECK(pidfd_send_signal(pidfd.get(), SIGKILL));
    CHECK(pidfd_ended(pidfd.get(), 10s));
    CHECK(prefork::test::wait_for_child(child) == child_end{0, SIGKILL});
    CHECK(pidfd_ended(pidfd.get()));
    CHECK_FALSE(pidfd_send_signal(pidfd.get(), SIGKILL));
}

TEST_CASE("there is no pidfd of a process that does not exist") {
    REQUIRE_THROWS_AS(pidfd_open(-1), std::system_error);
    REQUIRE_THROWS_WITH(pidfd_open(0x3fffffff), "pidfd_open (needs Linux 5.3): No such process");
}

// ---- descriptors

TEST_CASE("the descriptors of a range are closed, the last and the first too, and no other") {
    const auto body = [] {
        std::vector<int> fds;
        for (int i = 0; i < 6; ++i) fds.push_back(::fcntl(0, F_DUPFD, 100));
        close_range(102, 103);
        const bool expected[] = {true, true, false, false, true, true};
        for (int i = 0; i < 6; ++i) {
            if (is_open(100 + i) != expected[i]) return i + 1;
        }
        close_range(104, 103);  // an empty range
        if (!is_open(104)) return 10;
        close_range(3, ~0u);
        return is_open(100) || is_open(105) || !is_open(2) ? 11 : 0;
    };
    CHECK(in_child(body) == child_end{0, 0});
}

// ---- small files, whole writes

TEST_CASE("a file is read to its end, however many reads that takes") {
    const unique_fd file = prefork::base::memfd_create("small", MFD_CLOEXEC);
    const std::string text(10'000, 'x');
    REQUIRE(write_all(file.get(), text.data(), text.size()));
    CHECK(read_small_file("/proc/self/fd/" + std::to_string(file.get())) == text);
    CHECK(read_small_file("/proc/sys/kernel/ostype") == "Linux\n");
}

TEST_CASE("a file that can't be read is empty") {
    CHECK(read_small_file("/no/such/file").empty());
    CHECK(read_small_file("/proc").empty());
}

TEST_CASE("all bytes are written, through short writes and interruptions") {
    const prefork::test::leaks guard;
    pipe_ends pipe;
    const std::string text(1'000'000, 'y');  // many times what a pipe holds
    std::string got;
    std::thread reader{[&] {
        char buffer[3000];
        for (ssize_t size = 0; (size = ::read(pipe.read.get(), buffer, sizeof buffer)) != 0;) {
            if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
        }
    }};
    {
        const interruptions often;
        CHECK(prefork::test::until([&] { return often.sent() > 0; }));
        CHECK(write_all(pipe.write.get(), text.data(), text.size()));
    }
    pipe.write.reset();
    reader.join();
    CHECK(got == text);
}

TEST_CASE("a write that can't be finished says so") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    const unique_fd one{ends[0]};
    const unique_fd other{ends[1]};
    const std::string text(10'000'000, 'z');
    CHECK_FALSE(write_all(one.get(), text.data(), text.size()));
    CHECK_FALSE(write_all(-1, text.data(), 1));
    CHECK(write_all(-1, text.data(), 0));
}

// ---- waiting

TEST_CASE("a descriptor that has something is readable at once, without a wait too") {
    const unique_fd event{::eventfd(1, EFD_CLOEXEC)};
    CHECK(wait_readable(event.get(), monotonic::now()));
    CHECK(wait_readable(event.get(), monotonic::now() - 1s));
    CHECK(wait_readable(event.get(), never));
}

TEST_CASE("a wait for nothing ends at its deadline, not before, and in spite of interruptions") {
    const prefork::test::leaks guard;
    const unique_fd event{::eventfd(0, EFD_CLOEXEC)};
    const interruptions often;
    const auto deadline = monotonic::now() + 20ms;
    CHECK_FALSE(wait_readable(event.get(), deadline));
    CHECK(monotonic::now() >= deadline);
    CHECK(monotonic::now() < deadline + 10s);
}

TEST_CASE("what comes during a wait ends it") {
    const prefork::test::leaks guard;
    const unique_fd event{::eventfd(0, EFD_CLOEXEC)};
    std::thread other{[&] { ::eventfd_write(event.get(), 1); }};
    CHECK(wait_readable(event.get(), never));
    other.join();
}

TEST_CASE("threads are counted, the first one too") {
    const prefork::test::leaks guard;
    const unsigned before = thread_count();
    CHECK(before >= 1);
    const unique_fd event{::eventfd(0, EFD_CLOEXEC)};
    std::thread other{[&] { static_cast<void>(wait_readable(event.get(), never)); }};
    CHECK(thread_count() == before + 1);
    ::pthread_setname_np(other.native_handle(), "the other");
    const std::vector<std::string> names = names_of_other_threads();
    CHECK(names.size() == before);
    CHECK(names.back() == "the other");
    ::eventfd_write(event.get(), 1);
    other.join();
}

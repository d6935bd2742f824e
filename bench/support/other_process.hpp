#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <new>
#include <system_error>
#include <utility>

namespace prefork::bench {

/// A process that runs `body()` for as long as this object lives, or this process.
class other_process {
  public:
    template <class Body>
    explicit other_process(Body body) : pid_(::fork()) {
        if (pid_ < 0) throw std::system_error{errno, std::generic_category(), "fork"};
        if (pid_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        body();
        ::_exit(0);
    }
    ~other_process() { end(); }
    other_process(other_process&& from) noexcept : pid_(std::exchange(from.pid_, 0)) {}
    other_process& operator=(other_process&&) = delete;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// SIGKILL; returns when it is gone.
    void end() {
        if (pid_ == 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(std::exchange(pid_, 0), nullptr, 0);
    }

  private:
    pid_t pid_;
};

/// A T that processes forked later share with this one.
template <class T>
class shared {
  public:
    shared() {
        void* const memory =
            ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::system_error{errno, std::generic_category(), "mmap"};
        value_ = new (memory) T{};
    }
    ~shared() { ::munmap(value_, sizeof(T)); }
    shared(const shared&) = delete;
    shared& operator=(const shared&) = delete;

    T* operator->() const noexcept { return value_; }
    T& operator*() const noexcept { return *value_; }

  private:
    T* value_;
};

}  // namespace prefork::bench

#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/system_call.hpp"
#include "support/process_family.hpp"
#include "support/until.hpp"

// A process that runs one machine instruction at a time (ptrace(2)), so that a test can end it
// after each. Knows the registers and the instructions of x86-64 only.

namespace prefork::test {

/// May a process be stepped through here? Some containers refuse it.
[[nodiscard]] inline bool can_step() {
    const pid_t child = base::checked(::fork(), "fork");
    if (child == 0) {
        for (;;) ::pause();
    }
    const bool refused = ::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) != 0;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return !refused;
}

/// Ends the program as skipped where no process can be stepped through.
inline void require_stepping() {
    if (can_step()) return;
    std::puts("ptrace is refused here");
    std::fflush(stdout);  // _exit() would not
    ::_exit(77);
}

/// Whether a process has slept for a while. It may be asked as often as one likes: it looks once a
/// millisecond.
class sleep_watch {
  public:
    explicit sleep_watch(pid_t pid) : pid_(pid) {}
    [[nodiscard]] bool sleeps() {
        const auto now = std::chrono::steady_clock::now();
        if (now < next_look_) return false;
        next_look_ = now + std::chrono::milliseconds(1);
        if (state_of(pid_) != 'S') asleep_looks_ = 0;
        return ++asleep_looks_ > 20;
    }

  private:
    pid_t pid_;
    std::chrono::steady_clock::time_point next_look_{};
    int asleep_looks_ = 0;
};

/// Stops `pid`, whoever's child it is, and lets it go again in the end. One thread.
class stepper {
  public:
    /// \throws std::system_error when it is gone, or belongs to another debugger
    explicit stepper(pid_t pid, bool share_a_cpu = true) : pid_(pid) {
        ::sched_getaffinity(0, sizeof before_, &before_);
        if (share_a_cpu) share_cpu();
        base::checked(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr), "ptrace to stop a process");
        interrupt();
    }
    ~stepper() {
        if (!ended_) ::ptrace(PTRACE_DETACH, pid_, nullptr, signal_);
        ::sched_setaffinity(0, sizeof before_, &before_);
    }
    stepper(const stepper&) = delete;
    stepper& operator=(const stepper&) = delete;

    [[nodiscard]] bool ended() const noexcept { return ended_; }
    /// How it ended, as wait(2) says it.
    [[nodiscard]] int end_status() const noexcept { return status_; }
    [[nodiscard]] std::uint64_t address() const { return peek(offsetof(user_regs_struct, rip)); }
    /// The next instruction is a system call; which one, and its arguments, are in the registers.
    [[nodiscard]] bool at_system_call() const { return (text(address()) & 0xffff) == 0x050f; }
    [[nodiscard]] bool at_system_call(long number) const {
        return at_system_call() &&
               peek(offsetof(user_regs_struct, rax)) == static_cast<std::uint64_t>(number);
    }
    /// Stopped inside one, which begins again with the next step; or just out of one.
    [[nodiscard]] bool in_system_call() const {
        return static_cast<std::int64_t>(peek(offsetof(user_regs_struct, orig_rax))) >= 0;
    }
    /// About to sleep on a futex; the flags beside the operation don't matter.
    [[nodiscard]] bool at_futex_wait() const {
        return at_system_call(SYS_futex) &&
               (peek(offsetof(user_regs_struct, rsi)) & std::uint64_t{0x7f}) == FUTEX_WAIT_BITSET;
    }
    /// The next instruction reads the time stamp counter.
    [[nodiscard]] bool at_rdtsc() const { return (text(address()) & 0xffff) == 0x310f; }
    /// The next instruction is the breakpoint that a program holds for us.
    [[nodiscard]] bool at_mark() const { return (text(address()) & 0xff) == breakpoint; }
    void pass_mark() { poke(offsetof(user_regs_struct, rip), address() + 1); }
    /// Runs to the next of those; false when it ended, or has not come to one within `bound`.
    bool run_to_mark(std::chrono::milliseconds bound) {
        resume(PTRACE_CONT);
        if (!wait(bound)) return false;
        poke(offsetof(user_regs_struct, rip), address() - 1);
        return at_mark();
    }

    /// One instruction, a whole system call at most: false when it ended with it, or when a system
    /// call has slept for `bound`; then it is stopped in it.
    bool step(std::chrono::milliseconds bound = std::chrono::seconds(20)) {
        const bool may_sleep = at_system_call() || in_system_call();
        resume(PTRACE_SINGLESTEP);
        return may_sleep ? wait(bound) : wait();
    }

    /// Runs until the instruction at `target` is the next for the `hits`th time; false when it
    /// ended, fell asleep, or has not come there within `bound`.
    bool run_to(std::uint64_t target, unsigned hits, std::chrono::milliseconds bound) {
        const std::uint64_t before = text(target);
        const std::uint64_t with_breakpoint = (before & ~std::uint64_t{0xff}) | breakpoint;
        for (;;) {
            if (::ptrace(PTRACE_POKETEXT, pid_, target, with_breakpoint) != 0) return false;
            resume(PTRACE_CONT);
            const bool came = wait(bound, true) && address() == target + 1;
            if (!ended_) ::ptrace(PTRACE_POKETEXT, pid_, target, before);
            if (!came) return false;
            poke(offsetof(user_regs_struct, rip), target);
            if (--hits == 0) return true;
            if (!step()) return false;
        }
    }

    /// SIGKILL; returns when it is dead, and its parent may have it.
    void kill() {
        if (!ended_) ::kill(pid_, SIGKILL);
        while (!ended_) {
            if (!wait()) continue;
            ::ptrace(PTRACE_CONT, pid_, nullptr, nullptr);  // it was on its way to another stop
        }
    }

  private:
    static constexpr std::uint64_t breakpoint = 0xcc;

    // On one CPU the kernel switches between the two at once; on two it wakes a sleeping CPU with
    // each step, which takes ten times as long in a virtual machine.
    void share_cpu() {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(static_cast<unsigned>(std::max(::sched_getcpu(), 0)), &one);
        ::sched_setaffinity(0, sizeof one, &one);
        ::sched_setaffinity(pid_, sizeof one, &one);
    }

    [[nodiscard]] std::uint64_t peek(std::size_t offset) const {
        errno = 0;
        const long word = ::ptrace(PTRACE_PEEKUSER, pid_, offset, nullptr);
        return errno == 0 ? static_cast<std::uint64_t>(word) : 0;
    }
    void poke(std::size_t offset, std::uint64_t word) {
        ::ptrace(PTRACE_POKEUSER, pid_, offset, word);
    }
    [[nodiscard]] std::uint64_t text(std::uint64_t at) const {
        errno = 0;
        const long word = ::ptrace(PTRACE_PEEKTEXT, pid_, at, nullptr);
        return errno == 0 ? static_cast<std::uint64_t>(word) : 0;
    }

    void resume(__ptrace_request how) { ::ptrace(how, pid_, nullptr, std::exchange(signal_, 0)); }
    void interrupt() {
        ::ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr);
        static_cast<void>(wait());
    }
    // Until it stops: false when it ended instead.
    bool wait() {
        int status = 0;
        while (::waitpid(pid_, &status, __WALL) < 0 && errno == EINTR) {
        }
        return note(status);
    }
    bool wait(std::chrono::milliseconds bound, bool awake = false) {
        int status = 0;
        sleep_watch watch{pid_};
        bool stopped = false;
        // ECHILD: it has ended, and another thread of ours has reaped it.
        const auto over = [&] {
            const pid_t found = ::waitpid(pid_, &status, __WALL | WNOHANG);
            stopped = found == pid_ || (found < 0 && errno == ECHILD);
            return stopped || (awake && watch.sleeps());
        };
        static_cast<void>(until(over, bound));
        if (stopped) return note(status);
        interrupt();
        return false;
    }
    bool note(int status) {
        ended_ = !WIFSTOPPED(status);
        status_ = status;
        // Any other signal than the one that tells of a step is the process's own: the next step
        // hands it over.
        if (!ended_ && status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP) {
            signal_ = WSTOPSIG(status);
        }
        return !ended_;
    }

    pid_t pid_;
    cpu_set_t before_{};
    int signal_ = 0;
    bool ended_ = false;
    int status_ = 0;
};

/// The addresses of the instructions that a process ran, one after another, and the quickest way of
/// another process, at the same start, to any of them. It doesn't have to take the same path
/// exactly: then it arrives a few instructions off.
class recorded_path {
  public:
    /// Without breakpoints every instruction is a step; for a process that is in a loop at first,
    /// and would meet a breakpoint there.
    explicit recorded_path(bool with_breakpoints = true) : with_breakpoints_(with_breakpoints) {}

    void add(std::uint64_t address) {
        // A run to a breakpoint costs as much as some four steps, each time that it is met.
        constexpr std::size_t cost_of_hit = 4;
        const std::size_t here = addresses_.size();
        way by = here == 0 ? way{0, 0, 0} : ways_.back();
        ++by.cost;
        // The first instruction is a system call in which the process stands: a step. And where one
        // that repeats itself (rep movs) is stepped through, a breakpoint is met once.
        if (with_breakpoints_ && here != 0 && address != addresses_.back()) {
            const unsigned hits = ++met_[address];
            if (hits * cost_of_hit < by.cost) by = {here, hits, hits * cost_of_hit};
        }
        addresses_.push_back(address);
        ways_.push_back(by);
    }
    [[nodiscard]] std::size_t size() const noexcept { return addresses_.size(); }

    /// After how many instructions there is something to see, from none to all. An instruction that
    /// repeats itself is stopped after each time, a byte or a word further on: of those the first
    /// two and the last.
    [[nodiscard]] std::vector<std::size_t> places() const {
        std::vector<std::size_t> found;
        for (std::size_t at = 0; at <= size(); ++at) {
            const bool repeated = at >= 2 && at < size() && addresses_[at - 2] == addresses_[at] &&
                                  addresses_[at - 1] == addresses_[at];
            if (!repeated) found.push_back(at);
        }
        return found;
    }

    /// Lets it run `instructions` instructions; false when it ended, or `over()` before that.
    template <class Over>
    bool walk(stepper& process, std::size_t instructions, Over over, bool by_steps = false) const {
        constexpr std::chrono::seconds bound{2};
        if (instructions == 0) return true;
        std::size_t at = 0;
        const way& by = ways_[std::min(instructions, size() - 1)];
        if (by.from > 1 && !by_steps) {
            if (!process.step()) return false;
            if (!process.run_to(addresses_[by.from], by.hits, bound)) return false;
            at = by.from;
        }
        for (; at < instructions; ++at) {
            if (at > 0 && over()) return false;
            if (!process.step()) return at + 1 == instructions;
        }
        return true;
    }

  private:
    struct way {
        std::size_t from;  ///< run to this instruction, then step
        unsigned hits;     ///< how often its address has been met by then
        std::size_t cost;  ///< in steps
    };
    bool with_breakpoints_;
    std::vector<std::uint64_t> addresses_;
    std::vector<way> ways_;
    std::unordered_map<std::uint64_t, unsigned> met_;
};

}  // namespace prefork::test

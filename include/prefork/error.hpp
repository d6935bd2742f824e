#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "prefork/export.hpp"

namespace prefork {

/// The base of everything that this library throws, but std::invalid_argument for options that make
/// no sense and std::system_error for a kernel call that failed in the host. All copy without
/// throwing.
class PREFORK_EXPORT error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    ~error() override;
};

/// The task threw. A standard exception is caught as its own type as well: what get() throws for
/// std::out_of_range is an std::out_of_range *and* a task_error *and* one std::exception. So is
/// every other one of the standard library, but those of <chrono> and <format>, with the code or
/// the paths that it holds. A class derived from one arrives
/// as the nearest of these. A std::error_category that isn't the standard's is an object of its
/// process, and arrives as another one of the same name, with the number: compare these two.
///
/// what() is cut after 32,768 bytes, a path after 8,192.
class PREFORK_EXPORT task_error : public error {
  public:
    task_error(std::string type_name, const std::string& what);
    ~task_error() override;
    /// The exception's class in the worker, demangled: "std::out_of_range", "my::error", "int".
    [[nodiscard]] const std::string& type_name() const noexcept { return *type_name_; }

  private:
    std::shared_ptr<const std::string> type_name_;
};

/// Who ended a worker.
enum class killer : std::uint8_t {
    none,          ///< itself: a crash, exit(), abort()
    timeout,       ///< its task's run time was over
    memory_limit,  ///< it held more than `worker_memory_limit`
    oom_killer,    ///< the kernel, short of memory
    pool,          ///< kill_all(), cancel() or the end of the pool
    stranger,      ///< a SIGKILL from somebody else
};

/// What is known of a task that was ended together with its worker.
struct loss {
    int signal = 0;         ///< 0 when it exited
    int exit_status = 0;    ///< when it exited
    unsigned attempts = 1;  ///< how often the task was started
    killer killed_by = killer::none;
    std::string stack_trace;  ///< a line a frame, innermost first; empty when there was no chance
    std::string log_tail;     ///< its last 20 lines of log(), "[info] text", newest last
    std::string label;
    std::chrono::nanoseconds run_time{0};  ///< of the last attempt
    std::uint64_t memory = 0;              ///< private bytes at the end; 0 when nobody could tell
    std::uint64_t peak_memory = 0;  ///< resident at most, what it shared included; 0 as above
};

namespace detail {

/// What an error below knows, and what it finds out when it is asked. Not for users.
class PREFORK_EXPORT evidence {
  public:
    explicit evidence(loss known) : known_(std::move(known)) {}
    virtual ~evidence();
    evidence(const evidence&) = delete;
    evidence& operator=(const evidence&) = delete;

    /// All but the stack trace.
    [[nodiscard]] const loss& known() const noexcept { return known_; }
    /// nullptr: nothing that the error's own text doesn't say.
    [[nodiscard]] virtual const char* what() const noexcept = 0;
    [[nodiscard]] virtual const std::string& stack_trace() const = 0;
    virtual void save(const std::string& path) const = 0;

  private:
    loss known_;
};

}  // namespace detail

/// The task did not end by itself. The base of worker_lost and task_timeout.
///
/// Until its last copy is gone it keeps the task's arguments, for save(): small ones a copy,
/// others, with the arrays that they name, where they lie, which counts against the memory budget.
/// All errors of a pool keep an eighth of it at most.
class PREFORK_EXPORT task_lost : public error {
  public:
    ~task_lost() override;
    /// Cost: the first call of this or of stack_trace() reads symbols and debug information, which
    /// takes milliseconds. Threads: any.
    [[nodiscard]] const char* what() const noexcept override;
    [[nodiscard]] unsigned attempts() const noexcept { return known().attempts; }
    [[nodiscard]] killer killed_by() const noexcept { return known().killed_by; }
    /// A line a frame, innermost first: "parse(int) +0x1f at parse.cpp:14 (program +0x11d9)"; empty
    /// when the worker had no chance to tell. After a timeout: where it was when its time was over.
    [[nodiscard]] const std::string& stack_trace() const;
    [[nodiscard]] const std::string& log_tail() const noexcept { return known().log_tail; }
    [[nodiscard]] const std::string& label() const noexcept { return known().label; }
    [[nodiscard]] std::chrono::nanoseconds run_time() const noexcept { return known().run_time; }
    [[nodiscard]] std::uint64_t memory() const noexcept { return known().memory; }
    [[nodiscard]] std::uint64_t peak_memory() const noexcept { return known().peak_memory; }
#ifdef __cpp_exceptions
    /// Writes the task to a file of mode 0600: the same build of the program, started with
    /// PREFORK_REPLAY=path in its environment, runs it again (docs/crash.md). An array that it was
    /// given is saved as it is now. \throws std::system_error naming path and cause;
    /// payload_too_large when the arguments weren't kept; error when the program has no build id
    void save(const std::string& path) const;
#endif
    /// All of it at once.
    [[nodiscard]] loss details() const;

  protected:
    task_lost(const std::string& what, std::shared_ptr<const detail::evidence> of);
    [[nodiscard]] const loss& known() const noexcept;

  private:
    std::shared_ptr<const detail::evidence> evidence_;
};

/// The worker died while it ran the task, and no further attempt was allowed.
class PREFORK_EXPORT worker_lost : public task_lost {
  public:
    worker_lost(const std::string& what, std::shared_ptr<const detail::evidence> of)
        : task_lost(what, std::move(of)) {}
    ~worker_lost() override;
    [[nodiscard]] int signal() const noexcept { return known().signal; }
    [[nodiscard]] int exit_status() const noexcept { return known().exit_status; }
};

/// The worker was ended because it held more private memory than `worker_memory_limit`; what() has
/// both numbers.
class PREFORK_EXPORT memory_exceeded : public worker_lost {
  public:
    using worker_lost::worker_lost;
    ~memory_exceeded() override;
};

/// The task ran for longer than its `timeout`, or past its deadline; its worker was ended unless it
/// left the task by itself. Or its worker was lost, and the deadline passed before another run.
class PREFORK_EXPORT task_timeout : public task_lost {
  public:
    explicit task_timeout(const std::string& what, std::shared_ptr<const detail::evidence> of = {})
        : task_lost(what, std::move(of)) {}
    ~task_timeout() override;
};

#define PREFORK_PLAIN_ERROR(name)              \
    class PREFORK_EXPORT name : public error { \
      public:                                  \
        using error::error;                    \
        ~name() override;                      \
    }

/// The deadline passed while the task still waited; it never started.
PREFORK_PLAIN_ERROR(task_expired);
/// The first failure of a worker to start, thrown by the pool's constructor.
PREFORK_PLAIN_ERROR(worker_start_failed);
/// The task was given up by cancel(), cancel_all(), kill_all() or the end of the pool.
PREFORK_PLAIN_ERROR(cancelled);
/// A bounded wait ended before the result was there; the task goes on.
PREFORK_PLAIN_ERROR(wait_timeout);
/// `queue_limit` tasks wait, and `when_full` is overflow::fail.
PREFORK_PLAIN_ERROR(queue_full);
/// Encoded arguments, or a result, larger than the memory budget; or a result for which no room
/// came within five seconds, because results that were not fetched hold the budget.
PREFORK_PLAIN_ERROR(payload_too_large);
/// Bytes that are not what their type needs: a worker gone wild, or a codec with a fault.
PREFORK_PLAIN_ERROR(decode_error);
/// get() on a task_group whose results were handed out before, or run() after that.
PREFORK_PLAIN_ERROR(group_collected);
/// The function lies in a library that was loaded after the workers were forked.
PREFORK_PLAIN_ERROR(unknown_function);
/// The pool was shut down.
PREFORK_PLAIN_ERROR(pool_closed);
/// The pool has no worker, and why: starts have failed for five seconds, which may pass, or the
/// fork server can't be made again.
PREFORK_PLAIN_ERROR(pool_broken);
/// Called in a process that the user forked from the host: the pool belongs to the other one.
PREFORK_PLAIN_ERROR(wrong_process);

#undef PREFORK_PLAIN_ERROR

}  // namespace prefork

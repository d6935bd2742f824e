#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

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

/// What is known of a worker's end.
struct loss {
    int signal = 0;         ///< 0 when it exited
    int exit_status = 0;    ///< when it exited
    unsigned attempts = 1;  ///< how often the task was started
    killer killed_by = killer::none;
    std::string stack_trace;  ///< a line a frame, innermost first; empty when there was no chance
    std::string log_tail;     ///< its last 20 lines of log(), "[info] text", newest last
    std::string label;
};

/// The worker died while it ran the task, and no further attempt was allowed.
class PREFORK_EXPORT worker_lost : public error {
  public:
    worker_lost(const std::string& what, loss details);
    ~worker_lost() override;
    [[nodiscard]] int signal() const noexcept { return details_->signal; }
    [[nodiscard]] int exit_status() const noexcept { return details_->exit_status; }
    [[nodiscard]] unsigned attempts() const noexcept { return details_->attempts; }
    [[nodiscard]] killer killed_by() const noexcept { return details_->killed_by; }
    [[nodiscard]] const std::string& stack_trace() const noexcept { return details_->stack_trace; }
    [[nodiscard]] const std::string& log_tail() const noexcept { return details_->log_tail; }
    [[nodiscard]] const std::string& label() const noexcept { return details_->label; }

  private:
    std::shared_ptr<const loss> details_;
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
class PREFORK_EXPORT task_timeout : public error {
  public:
    explicit task_timeout(const std::string& what, std::function<std::string()> stack_trace = {});
    ~task_timeout() override;
    /// Where it was when its time was over: a line a frame, innermost first; empty when the worker
    /// didn't answer. Cost: the first call reads the symbol tables of what the frames lie in,
    /// milliseconds. Threads: any.
    [[nodiscard]] const std::string& stack_trace() const;

  private:
    struct trace;
    std::shared_ptr<trace> trace_;
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

#pragma once

#include <string>

namespace prefork::process {

enum class role {
    host,    ///< the user's process, or one that it forked
    worker,  ///< of some pool, or a process that a task forked
};

[[nodiscard]] role current_role() noexcept;
/// In a new worker, before its hooks.
void become_worker(unsigned index) noexcept;
[[nodiscard]] unsigned worker_index() noexcept;
/// Before a worker leaves in peace: what detail::at_worker_exit() was given, the newest first.
void run_exit_calls();

/// A byte of 1 on a page that the kernel wipes at every fork (MADV_WIPEONFORK, Linux 4.14): in a
/// process that the user forks from the host it reads 0. A load, where comparing process ids would
/// be a system call. One a pool.
class host_mark {
  public:
    /// \throws std::system_error
    host_mark();
    ~host_mark();
    host_mark(const host_mark&) = delete;
    host_mark& operator=(const host_mark&) = delete;

    [[nodiscard]] bool is_here() const noexcept { return *mark_ == 1; }
    /// \throws wrong_process unless is_here()
    void require(const std::string& pool_name) const {
        if (!is_here()) throw_wrong_process(pool_name);
    }

  private:
    [[noreturn]] static void throw_wrong_process(const std::string& pool_name);

    volatile unsigned char* mark_;  // volatile: the kernel changes it behind the compiler's back
};

}  // namespace prefork::process

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "prefork/export.hpp"

namespace prefork {

/// What a task may ask of the process that runs it.
namespace this_worker {

/// The worker's number, 0 … workers − 1; a replacement has the number of the one it replaces. 0 in
/// the host, where tasks run inline.
[[nodiscard]] PREFORK_EXPORT unsigned index() noexcept;
[[nodiscard]] PREFORK_EXPORT pid_t pid() noexcept;
/// The running task is wanted to end: it was cancelled, its time is over, or the pool ends. Its
/// worker is killed when the pool's `grace` is over. A task whose first parameter is an
/// std::stop_token is given the same as a token. Always false inline. Cost: two loads.
[[nodiscard]] PREFORK_EXPORT bool stop_requested() noexcept;
/// Prolongs the running task's `timeout`; sums up; a deadline stays. Nothing inline.
PREFORK_EXPORT void extend(std::chrono::nanoseconds by) noexcept;

}  // namespace this_worker

/// What a task may ask of itself.
namespace this_task {

/// 64 bits made of the pool's `seed` and the task's number among its submissions (in a map, of the
/// item's): the same inline, on one worker, on many, and on a retry. 0 outside of a task.
[[nodiscard]] PREFORK_EXPORT std::uint64_t seed() noexcept;

}  // namespace this_task

namespace detail {

/// Another one in each worker and in the host; never used twice within a machine's uptime.
[[nodiscard]] PREFORK_EXPORT std::uint64_t process_number() noexcept;
/// Called before a worker leaves in peace, the newest first.
PREFORK_EXPORT void at_worker_exit(void (*call)(void*), void* argument);

}  // namespace detail

/// One T a worker, made by the factory on first use, kept until the worker ends: a database
/// connection, a parsed model. Declare it as a global or static; the factory must be trivially
/// copyable or anything else that exists before the pool is made.
///
/// A copy that the host made for itself (tasks that ran inline before the pool was made) is not
/// used in workers. Inline tasks on several threads of the host share the host's one.
template <class T>
class worker_local {
  public:
    template <class Factory>
    explicit worker_local(Factory factory)
        : make_([factory = std::move(factory)] { return std::make_unique<T>(factory()); }) {}
    worker_local(const worker_local&) = delete;
    worker_local& operator=(const worker_local&) = delete;

    T& operator*() { return get(); }
    T* operator->() { return &get(); }
    /// What the factory throws is the task's error, and the next task tries again.
    T& get();

  private:
    std::function<std::unique_ptr<T>()> make_;
    std::mutex mutex_;  // of this process only: inline tasks on several threads
    std::unique_ptr<T> value_;
    std::uint64_t made_in_ = 0;
};

template <class T>
T& worker_local<T>::get() {
    const std::lock_guard held{mutex_};
    const std::uint64_t here = detail::process_number();
    if (value_ != nullptr && made_in_ == here) return *value_;
    // What was inherited by fork isn't ours to close: its peer would hear it from the wrong
    // process.
    static_cast<void>(value_.release());
    value_ = make_();
    made_in_ = here;
    detail::at_worker_exit([](void* self) { static_cast<worker_local*>(self)->value_.reset(); },
                           this);
    return *value_;
}

}  // namespace prefork

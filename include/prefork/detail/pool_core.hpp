#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "prefork/detail/callable.hpp"
#include "prefork/detail/shared_block.hpp"
#include "prefork/export.hpp"

// What the templates of the public headers call in the library. Nothing here is for users.

namespace prefork {

/// Of two tasks that wait, the one of higher priority starts first; within a priority, the older.
/// Nothing that runs is interrupted, and low ones wait as long as there are others.
enum class priority : std::uint8_t { low, normal, high };

}  // namespace prefork

namespace prefork::detail {

class pool_core;  // lib/pool/core.hpp

/// A submitted task. Positions are never used twice.
struct ticket {
    std::uint64_t position = 0;
};

struct pool_task {
    pool_core* core;
    ticket task;
};

struct call {
    invoker function = nullptr;
    std::size_t size = 0;
    const void* encoder = nullptr;
    void (*write)(const void* encoder, std::byte* to) = nullptr;
    /// The user's function, where the callable is a pointer to one.
    const void* code = nullptr;
};

using time_point = std::chrono::steady_clock::time_point;

struct call_options {
    std::chrono::nanoseconds timeout{0};
    unsigned retries = 0;
    bool here = false;         ///< in the caller, now: the gate is shut
    bool never_waits = false;  ///< queue_full where there is no room, whatever the pool's overflow
    prefork::priority priority = prefork::priority::normal;
    std::uint64_t items = 1;  ///< numbers that the task takes up, for this_task::seed()
    time_point deadline = time_point::max();
    std::shared_ptr<const std::string> label;
};

/// A result on its way to the caller: the bytes, and the block they lie in until this is destroyed.
class PREFORK_EXPORT outcome {
  public:
    outcome() noexcept = default;
    outcome(outcome&& other) noexcept;
    outcome& operator=(outcome&& other) noexcept;
    ~outcome();

    /// The encoded result; rethrows the task's error if it has none.
    [[nodiscard]] std::span<const std::byte> bytes() const;
    [[nodiscard]] const std::exception_ptr& failure() const noexcept { return failure_; }

  private:
    friend class pool_core;

    friend class decoding;

    static constexpr unsigned no_seat = ~0u;

    [[nodiscard]] bool is_private() const noexcept { return block_ != nullptr && seat_ == no_seat; }

    pool_core* core_ = nullptr;
    std::byte* block_ = nullptr;  // the payload, when not inline
    std::size_t size_ = 0;
    unsigned seat_ = no_seat;  // whose part the block lies in, or arrays that the payload names
    bool names_arrays_ = false;
    std::vector<shared_ref> kept_;  // arrays that the payload may name
    std::exception_ptr failure_;
    alignas(payload_alignment) std::array<std::byte, 80> inline_;
};

/// While a result is decoded: what it names belongs to its worker and its pool.
class PREFORK_EXPORT decoding {
  public:
    explicit decoding(const outcome& of) noexcept;
    ~decoding();
    decoding(const decoding&) = delete;
    decoding& operator=(const decoding&) = delete;

  private:
    alignas(void*) std::byte exchange_[5 * sizeof(void*)];
};

[[nodiscard]] PREFORK_EXPORT pool_core& core_of(pool& of);
[[nodiscard]] PREFORK_EXPORT call_options options_of(pool_core& core) noexcept;
[[nodiscard]] PREFORK_EXPORT unsigned workers_of(pool_core& core) noexcept;
/// The load is at most `max_load_average` (the pool's own if unset) per usable CPU.
/// \throws std::invalid_argument
[[nodiscard]] PREFORK_EXPORT bool gate_open(pool_core& core, const double* max_load_average);

/// \throws std::invalid_argument
PREFORK_EXPORT void check_options(const call_options& how);

PREFORK_EXPORT ticket submit(pool_core& core, const call& what, const call_options& how);
/// Nothing where it would wait; every other error is the task's own.
[[nodiscard]] PREFORK_EXPORT std::optional<ticket> try_submit(pool_core& core, const call& what,
                                                              call_options how) noexcept;
/// The task has ended.
[[nodiscard]] PREFORK_EXPORT bool is_ready(pool_core& core, ticket task);
/// False at the deadline.
[[nodiscard]] PREFORK_EXPORT bool wait(pool_core& core, ticket task, time_point deadline);
/// Also false when `stop` is requested.
[[nodiscard]] PREFORK_EXPORT bool wait(pool_core& core, ticket task, time_point deadline,
                                       const std::stop_token& stop);
/// Which of `tasks` has ended first, as far as can be seen; nothing at the deadline.
[[nodiscard]] PREFORK_EXPORT std::optional<std::size_t> wait_any(std::span<const pool_task> tasks,
                                                                 time_point deadline);
/// Has poll() call `callback` once the task has ended.
PREFORK_EXPORT void watch(pool_core& core, ticket task, std::function<void()> callback);
/// After wait(): the result, once.
[[nodiscard]] PREFORK_EXPORT outcome take(pool_core& core, ticket task);
/// Runs a task that no worker has claimed here and now; its result is as any other's.
PREFORK_EXPORT void help(pool_core& core, ticket task);
PREFORK_EXPORT void broadcast(pool_core& core, const call& what);
/// Nobody will ask for it any more.
PREFORK_EXPORT void abandon(pool_core& core, ticket task) noexcept;
/// False when it had already ended.
PREFORK_EXPORT bool cancel(pool_core& core, ticket task);
[[noreturn]] PREFORK_EXPORT void throw_wait_timeout(std::chrono::nanoseconds waited);
[[noreturn]] PREFORK_EXPORT void throw_no_result();
[[noreturn]] PREFORK_EXPORT void throw_group_collected();
[[noreturn]] PREFORK_EXPORT void throw_group_shared();
[[noreturn]] PREFORK_EXPORT void throw_moved_from();

/// `bound` in nanoseconds: the nearest that there are where it is too long for them, or no number.
template <class Rep, class Period>
[[nodiscard]] std::chrono::nanoseconds saturated(std::chrono::duration<Rep, Period> bound) {
    using std::chrono::nanoseconds;
    // hours::max() doesn't fit into nanoseconds, which is what comparing it with them would need.
    const std::chrono::duration<long double, std::nano> wanted = bound;
    if (!(wanted < nanoseconds::max())) return nanoseconds::max();
    if (wanted <= nanoseconds::min()) return nanoseconds::min();
    return std::chrono::duration_cast<nanoseconds>(bound);
}

template <class Rep, class Period>
[[nodiscard]] time_point deadline_in(std::chrono::duration<Rep, Period> bound) {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::nanoseconds wanted = saturated(bound);
    if (wanted >= time_point::max() - now) return time_point::max();
    // The clock's beginning is long ago enough: a bound below it has ended too.
    return wanted < -now.time_since_epoch() ? time_point{} : now + wanted;
}

}  // namespace prefork::detail

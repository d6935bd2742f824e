#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "prefork/codec.hpp"
#include "prefork/detail/exit_data.hpp"
#include "prefork/detail/pool_core.hpp"
#include "prefork/export.hpp"
#include "prefork/future.hpp"
#include "prefork/shared_array.hpp"
#include "prefork/stats.hpp"

namespace prefork {

/// What submit() does when `queue_limit` tasks wait, or the memory budget is used up.
enum class overflow : std::uint8_t {
    wait,        ///< until there is room
    fail,        ///< throws queue_full
    run_inline,  ///< runs the task in the caller
};

/// What a worker does between two tasks.
enum class idle : std::uint8_t {
    adaptive,  ///< a few look for the next task for some 50 µs, the rest sleep
    spin,      ///< looks until it comes: the fastest answer, a CPU a worker
    park,      ///< sleeps at once: no CPU while idle, 4–70 µs to wake
};

/// `workers` for a pool without processes: every task runs in the caller, with the same results and
/// errors. For gdb and valgrind; set PREFORK_WORKERS=inline in the environment to have it without a
/// change of the program. Nobody is there to end a task: a `timeout` is not looked at, cancel() is
/// always too late, and a task that crashes or exits takes the caller with it.
inline constexpr unsigned inline_workers = ~0u;

/// Everything has a default. What makes no sense throws std::invalid_argument naming option, value
/// and limit, before anything is started.
struct pool_options {
    /// Processes, at most 255. 0: usable_cpus().
    unsigned workers = 0;
    /// Per usable CPU: above it, maps and groups run in the caller. Unset: the gate is always open.
    std::optional<double> max_load_average = std::nullopt;
    /// Bytes of shared memory for arguments and results. 0: half of what RAM and cgroup leave. A
    /// result for which there is no room waits in its worker, 5 s at most (100 ms, unless
    /// `when_full` is overflow::wait), while others are fetched; then its task ends with
    /// payload_too_large. To make room, as many bytes again may move into the host's private
    /// memory. All of it ends at three quarters of a memory cgroup's limit.
    std::uint64_t memory_budget = 0;
    /// Tasks that wait, at most 1,000,000.
    std::size_t queue_limit = 8000;
    overflow when_full = overflow::wait;
    /// Run time allowed to each task. 0: none. What waits, for whatever reason, is not running: a
    /// `deadline` bounds both.
    std::chrono::nanoseconds timeout{0};
    /// Further runs allowed to a task whose worker was lost while it ran, at most 1000.
    unsigned retries = 0;
    /// Then a worker is replaced; the exact number varies by an eighth, so that few leave at once.
    std::uint64_t max_tasks_per_worker = 0;
    /// Bytes of private memory that a worker, with the processes that its task forks, may add to
    /// what it began with; looked at every 100 ms, in /proc. 0: none.
    std::uint64_t worker_memory_limit = 0;
    prefork::idle idle = prefork::idle::adaptive;
    /// After a timeout or cancel() the caller has its answer; the worker may use this long to leave
    /// the task by itself before it is killed.
    std::chrono::nanoseconds grace = std::chrono::milliseconds(100);
    /// In each new worker before its first task. If it throws, exits, or takes longer than
    /// `worker_start_timeout`, the constructor throws worker_start_failed. Later that start is
    /// tried again, with pauses of at most 5 s. Tasks wait; when starts have failed for 5 s and no
    /// worker is left, they fail with pool_broken, until a start succeeds.
    std::function<void()> on_worker_start = {};
    std::chrono::nanoseconds worker_start_timeout = std::chrono::seconds(10);
    /// In each worker that leaves in peace: the pool's end, recycling.
    std::function<void()> on_worker_exit = {};
    /// Threads that OpenMP or a BLAS uses in a task: OpenMP, OpenBLAS, MKL and BLIS are told
    /// through their run-time calls, when the program links them dynamically. 0: usable CPUs /
    /// workers, at least 1. A limit on the default: a `num_threads` clause, or a thread that a task
    /// starts, has its own. If OpenMP has run in the thread that makes the pool, its idle threads
    /// are released first (omp_pause_resource_all), because gcc's OpenMP would wait in each worker
    /// for threads that the fork did not copy; the host's next parallel region starts them again.
    unsigned inner_threads = 0;
    /// Descriptors that workers keep beside 0, 1, 2; all others are closed in them.
    std::vector<int> keep_fds = {};
    /// Shown by ps, and in errors.
    std::string name = "prefork";
    /// What this_task::seed() is made of.
    std::uint64_t seed = 0;
};

/// Options for one call; what is unset is the pool's.
struct task_options {
    /// Run time, from the start of each attempt.
    std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
    /// Queueing and all attempts included: what has not started by then never starts
    /// (task_expired), what still runs is ended (task_timeout). Unset: none.
    std::optional<std::chrono::steady_clock::time_point> deadline = std::nullopt;
    std::optional<unsigned> retries = std::nullopt;
    /// What the task is, for people: in errors, log lines, ps and statistics. At most 200 bytes.
    std::optional<std::string_view> label = std::nullopt;
    prefork::priority priority = prefork::priority::normal;
};

struct map_options {
    /// While it waits, the caller runs chunks too, that no worker has begun: the last ones first.
    /// What crashes there takes the caller with it, and no timeout ends it.
    bool caller_helps = false;
};

/// Which result of a stream comes next.
enum class order : std::uint8_t {
    submission,  ///< that of the oldest input
    completion,  ///< first come, first out
};

struct stream_options {
    /// Tasks submitted whose results were not taken yet. 0: two a worker, and two.
    std::size_t max_in_flight = 0;
    prefork::order order = prefork::order::submission;
};

/// A cheap view of a pool with options and a codec of its own; valid as long as the pool.
template <class Codec>
class basic_view {
  public:
    basic_view(detail::pool_core& core, const detail::call_options& options) noexcept
        : core_(&core), options_(options) {}

#ifdef __cpp_exceptions
    /// Runs `fn(arguments...)` in a worker and returns at once.
    ///
    /// `fn` is a function, or a functor or lambda whose captures are trivially copyable; arguments
    /// are converted to the types of its parameters and copied; spans and strings need to live
    /// until the return only. \throws queue_full         no room, and `when_full` is overflow::fail
    /// \throws payload_too_large  the encoded arguments exceed the memory budget
    /// \throws unknown_function   `fn` lies in a library that was loaded after the workers were
    /// forked \throws pool_closed, pool_broken, wrong_process Threads: any. In a worker it runs
    /// there and then. Cost: one encode, at most one futex wake.
    template <class Fn, class... Args>
    future<detail::result_of<Fn, Args...>> submit(Fn&& fn, Args&&... arguments) const {
        return submit_to<std::remove_cv_t<detail::result_of<Fn, Args...>>>(
            std::forward<Fn>(fn), std::forward<Args>(arguments)...);
    }
#endif

    /// As submit(), but never waits: nothing when there is no room now. What else goes wrong is the
    /// future's result.
    template <class Fn, class... Args>
    auto try_submit(Fn&& fn, Args&&... arguments) const
        -> std::optional<future<detail::result_of<Fn, Args...>>> {
        using parameters = detail::parameters_of<std::decay_t<Fn>>;
        return try_submit_as(typename detail::wire_types<parameters, Args...>::type{},
                             std::decay_t<Fn>(fn), std::forward<Args>(arguments)...);
    }
#ifdef __cpp_exceptions
    /// As submit(), for a task whose result nobody wants. drain() and shutdown() wait for it too.
    template <class Fn, class... Args>
    void detach(Fn&& fn, Args&&... arguments) const {
        static_cast<void>(submit(std::forward<Fn>(fn), std::forward<Args>(arguments)...));
    }

    /// See pool::broadcast().
    template <class Fn, class... Args>
    void broadcast(Fn&& fn, Args&&... arguments) const {
        using parameters = detail::parameters_of<std::decay_t<Fn>>;
        broadcast_as(typename detail::wire_types<parameters, Args...>::type{}, std::decay_t<Fn>(fn),
                     std::forward<Args>(arguments)...);
    }
#endif

    /// The same pool, with other options for one call.
    [[nodiscard]] basic_view with(const task_options& options) const;
    template <class Other>
    requires std::is_empty_v<Other>
    [[nodiscard]] basic_view<Other> with(Other) const noexcept { return {*core_, options_}; }

#ifdef __cpp_exceptions
    /// `fn` of every element of `inputs`, in their order; waits for all of them. The first error,
    /// in that order, is thrown after all have ended.
    template <std::ranges::input_range Range, class Fn>
    auto map(Range&& inputs, Fn fn, const map_options& how = {}) const;

    /// `fn` of every element of `inputs`, lazily and bounded: a range of results to go through
    /// once, see result_stream. Needs <prefork/stream.hpp>.
    template <std::ranges::input_range Range, class Fn>
    [[nodiscard]] auto stream(Range&& inputs, Fn fn, const stream_options& options = {}) const;
#endif

  private:
    template <class, class, class>
    friend class result_stream;

    template <class>
    friend class task_group;

    /// As submit(), with the result converted to `To`.
    template <class To, class Fn, class... Args>
    future<To> submit_to(Fn&& fn, Args&&... arguments) const {
        using parameters = detail::parameters_of<std::decay_t<Fn>>;
        return submit_as<To>(typename detail::wire_types<parameters, Args...>::type{},
                             std::decay_t<Fn>(fn), std::forward<Args>(arguments)...);
    }
    template <class To, class... Ws, class Fn, class... Args>
    future<To> submit_as(detail::type_list<Ws...>, const Fn& fn, Args&&... arguments) const {
        using result = std::remove_cv_t<detail::result_of<Fn, Args...>>;
        const auto made = with_call<result, Ws...>(
            fn, [this](const detail::call& what) { return detail::submit(*core_, what, options_); },
            detail::as_wire<Ws>(std::forward<Args>(arguments))...);
        return future<To>{*core_, made, &decode<result, To>};
    }
    template <class... Ws, class Fn, class... Args>
    auto try_submit_as(detail::type_list<Ws...>, const Fn& fn, Args&&... arguments) const {
        using result = std::remove_cv_t<detail::result_of<Fn, Args...>>;
        const auto made = with_call<result, Ws...>(
            fn,
            [this](const detail::call& what) { return detail::try_submit(*core_, what, options_); },
            detail::as_wire<Ws>(std::forward<Args>(arguments))...);
        return made ? std::optional{future<result>{*core_, *made, &decode<result>}} : std::nullopt;
    }

    template <class... Ws, class Fn, class... Args>
    void broadcast_as(detail::type_list<Ws...>, const Fn& fn, Args&&... arguments) const {
        with_call<void, Ws...>(
            fn, [this](const detail::call& what) { detail::broadcast(*core_, what); },
            detail::as_wire<Ws>(std::forward<Args>(arguments))...);
    }

    template <class Result, class... Ws, class Fn, class Send>
    static auto with_call(const Fn& fn, Send send, const Ws&... values) {
        detail::check_callable<Fn>();
        detail::check_result<Result>();
        using encoder_type = detail::call_encoder<Codec, Fn, Ws...>;
        const encoder_type encoder{fn, values...};
        return send(detail::call{&detail::invoke<Codec, Fn, Ws...>, encoder.size(), &encoder,
                                 [](const void* from, std::byte* to) {
                                     static_cast<const encoder_type*>(from)->write(to);
                                 },
                                 detail::code_of(fn)});
    }

    template <class T, class To = T>
    static To decode(const detail::outcome& got) {
        const detail::decoding from{got};
        if constexpr (std::is_void_v<T>) {
            detail::payload_reader{got.bytes()}.finish();
        } else {
            return static_cast<To>(std::get<0>(detail::decode<Codec, T>(got.bytes())));
        }
    }

    detail::pool_core* core_;
    detail::call_options options_;
};

/// A persistent pool of worker processes, forked here.
///
/// Make it before threads are started where that is possible: workers inherit memory and open
/// descriptors as they are now, and locks that other threads hold at this moment stay locked in
/// them for ever. Several pools may exist. Every member may be called from several threads at once.
///
/// A pool may be a static object: exit() in any thread ends it. What other threads ask of it
/// meanwhile, and handlers of atexit() after that, throws pool_closed; what they wait for,
/// cancelled. A task that calls exit() ends its worker (worker_lost), and runs none of the host's
/// handlers and destructors.
class PREFORK_EXPORT pool {
  public:
#ifdef __cpp_exceptions
    __attribute__((visibility("hidden"))) pool() : pool(pool_options{}) {}
    /// Blocks until every worker has started. \throws std::invalid_argument, std::system_error,
    /// worker_start_failed
    __attribute__((visibility("hidden"))) explicit pool(const pool_options& options)
        : pool(options, detail::exit_data_here()) {}
#endif
    /// As the constructor, but what it would throw is returned.
    [[nodiscard]] __attribute__((visibility("hidden"))) static expected<pool> make(
        const pool_options& options = {});
    /// Ends what runs and what waits (cancelled), within a bounded time.
    ~pool();
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    /// Futures, groups and views go on with the pool where it is now. Every other call of a pool
    /// that was moved from throws std::invalid_argument. A task that uses its own pool finds it
    /// where it was made: workers are older than the move.
    pool(pool&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    /// Ends the pool that was here before, as the destructor does.
    pool& operator=(pool&& other) noexcept;

    template <class Fn, class... Args>
    auto try_submit(Fn&& fn, Args&&... arguments) {
        return view().try_submit(std::forward<Fn>(fn), std::forward<Args>(arguments)...);
    }
#ifdef __cpp_exceptions
    template <class Fn, class... Args>
    auto submit(Fn&& fn, Args&&... arguments) {
        return view().submit(std::forward<Fn>(fn), std::forward<Args>(arguments)...);
    }
    template <class Fn, class... Args>
    void detach(Fn&& fn, Args&&... arguments) {
        view().detach(std::forward<Fn>(fn), std::forward<Args>(arguments)...);
    }
    template <std::ranges::input_range Range, class Fn>
    auto map(Range&& inputs, Fn fn, const map_options& how = {}) {
        return view().map(std::forward<Range>(inputs), fn, how);
    }
    template <std::ranges::input_range Range, class Fn>
    [[nodiscard]] auto stream(Range&& inputs, Fn fn, const stream_options& options = {}) {
        return view().stream(std::forward<Range>(inputs), fn, options);
    }
#endif
    [[nodiscard]] basic_view<codec::automatic_t> with(const task_options& options) {
        return view().with(options);
    }
    template <class Codec>
    requires std::is_empty_v<Codec>
    [[nodiscard]] basic_view<Codec> with(Codec codec) { return view().with(codec); }

    /// `count` zeroed elements that travel to tasks without a copy. \throws payload_too_large
    template <class T>
    [[nodiscard]] shared_array<T> make_shared_array(std::size_t count) {
        return shared_array<T>{detail::shared_ref::allocate(*this, count, sizeof(T))};
    }

#ifdef __cpp_exceptions
    /// Runs `fn(arguments...)` once in every worker, between two tasks, and, before its first task,
    /// in every one that is made later. Waits for those there are; what the call throws in one of
    /// them is thrown here, the first worker's first, when all have run it. A worker in which it
    /// takes longer than `worker_start_timeout` is ended (task_timeout); one in which it throws at
    /// its start doesn't start. The arguments are kept as long as the pool. Inline: once, here.
    template <class Fn, class... Args>
    void broadcast(Fn&& fn, Args&&... arguments) {
        view().broadcast(std::forward<Fn>(fn), std::forward<Args>(arguments)...);
    }
#endif
    /// New workers from this process as it is now: its globals, its libraries (unknown_function).
    /// Waits until they have started; the former ones leave after what they run. No task is lost,
    /// and none refused. \throws worker_start_failed, and then the former ones go on
    void refresh();
    /// Workers begin no new task until resume(); what runs goes on, and submit() takes tasks.
    void pause();
    void resume();

    /// Gives up every task that waits; how many. Their futures throw cancelled.
    std::size_t cancel_all();
    /// Gives up every task that runs, and ends their workers, which are replaced; how many.
    std::size_t kill_all();
    /// Waits until every task submitted so far has ended.
    void drain();
    /// Takes no more tasks (pool_closed), waits for those there are, at most `bound`; then ends
    /// what is left (cancelled) and all workers, which have the rest of `bound` and the pool's
    /// grace for their exit hooks. True when nothing had to be ended.
    bool shutdown(std::chrono::nanoseconds bound);

    /// Calls, here and now, what future::on_ready() was given for tasks that have ended, and
    /// resumes the coroutines that wait for them; never blocks. True when nothing is outstanding:
    /// every task has ended, and every callback was called. What a callback throws comes out of it;
    /// the others are called by the next poll().
    bool poll();
    /// Readable when poll() has something to do: for epoll and everything built on it. The pool's
    /// own, to be watched and not to be read, written or closed.
    [[nodiscard]] int event_fd() const;

    [[nodiscard]] pool_stats stats() const;
    /// False while workers can't be replaced or die faster than they are; a worker that is being
    /// replaced in time, as when it is recycled, changes nothing.
    [[nodiscard]] bool healthy() const;
    /// Why this many workers, which limits were read where, what this kernel offers, which threads
    /// ran at the fork. For people.
    [[nodiscard]] std::string describe() const;

  private:
    template <class>
    friend class task_group;
    friend detail::pool_core& detail::core_of(pool& of);

    pool(const pool_options& options, const detail::exit_data& tools);

    [[nodiscard]] basic_view<codec::automatic_t> view();
    [[nodiscard]] detail::pool_core& core() const {
        if (core_ == nullptr) detail::throw_moved_from();
        return *core_;
    }

    detail::pool_core* core_;
};

inline expected<pool> pool::make(const pool_options& options) {
    std::optional<pool> made;
    auto making = [&] { made.emplace(pool{options, detail::exit_data_here()}); };
    if (std::exception_ptr thrown = detail::guarded(making)) return failure{std::move(thrown)};
    return std::move(*made);
}

}  // namespace prefork

#include "prefork/detail/map.hpp"

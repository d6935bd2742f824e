#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <string>

// The storm's own books: what was promised for each task, what its runs noted while they ran, and
// whether what the caller got can be true. Nothing here comes from the library.

namespace storm {

using clock = std::chrono::steady_clock;

/// What a task does before its value, or instead of it.
enum class deed : std::uint32_t {
    nothing,
    spin,
    nap,
    children,  ///< forks a process, and waits for its end
    litter,    ///< forks one that goes on after the task, and holds memory
    throws,
    kill,
    fault,
    abort,
    leave,
    hang,
    stop,   ///< SIGSTOP to itself; nobody promises to wake it
    hog,    ///< more memory than a worker may have
    brood,  ///< the same, in a process that it forks
};

/// What is submitted, as it travels.
struct submission {
    std::uint64_t id;
    deed what;
    std::uint32_t runs;  ///< it does that in its first so many runs
    std::uint32_t micros;
};

/// What the caller asked for beside it.
struct promise {
    submission task;
    unsigned retries = 0;
    std::chrono::nanoseconds timeout{0};
    clock::time_point deadline = clock::time_point::max();
    clock::time_point submitted;
    std::uint64_t sweeps = 0;  ///< as counted when it was submitted
    bool cancelled = false;
};

/// A submission's page. Its runs write, in their processes.
struct alignas(128) page {
    struct event {
        std::atomic<std::int64_t> at;
        std::atomic<pid_t> pid;
        std::atomic<std::uint32_t> is_end;
    };
    static constexpr std::size_t kept_events = 4;

    std::atomic<std::uint64_t> id;
    std::atomic<std::uint32_t> starts;
    std::atomic<std::uint32_t> ends;
    std::atomic<pid_t> inside;            ///< of the run that has not ended
    std::atomic<std::uint32_t> overlaps;  ///< runs that began while another went on
    std::atomic<std::uint32_t> closed;    ///< no run may begin any more
    std::atomic<std::uint32_t> ghosts;    ///< runs that began all the same
    std::array<event, kept_events> events;
};

/// Shared by the host, its workers and the attacker.
struct shared_counts {
    std::atomic<std::uint32_t> over;  ///< the attacker is to end
    std::atomic<std::uint32_t> lull;  ///< the attacker is to wait
    std::atomic<pid_t> server;        ///< as tasks see it
    std::atomic<std::uint64_t> kills;
    std::atomic<std::uint64_t> server_kills;
    std::atomic<std::uint64_t> stops;
    std::atomic<std::uint64_t> own_deaths;  ///< of workers by their tasks
};

[[nodiscard]] std::uint64_t value_of(std::uint64_t id) noexcept;
/// Up to 20,000 bytes.
[[nodiscard]] std::string text_of(std::uint64_t id);

class books {
  public:
    /// Before any process that is to write in them is forked.
    books();
    books(const books&) = delete;
    books& operator=(const books&) = delete;

    [[nodiscard]] shared_counts& counts() noexcept { return *counts_; }

    // ---- in a run
    /// Which run of its task this is, from 1.
    std::uint32_t note_start(std::uint64_t id) noexcept;
    void note_end(std::uint64_t id) noexcept;

    // ---- in the host
    void open(std::uint64_t id) noexcept;
    /// Why what the caller got can't be, or nothing. `thrown`: nullptr for a value.
    [[nodiscard]] std::string fault_of(const promise& made, bool is_right,
                                       const std::exception_ptr& thrown, std::uint64_t sweeps);
    [[nodiscard]] std::string history(const promise& made) const;
    /// What runs noted of pages that nobody looked at since.
    [[nodiscard]] std::uint64_t late_faults() const noexcept;

  private:
    // Enough that a page isn't another task's while a late run of its former one may go on.
    static constexpr std::size_t pages = std::size_t{1} << 18;

    [[nodiscard]] page& at(std::uint64_t id) const noexcept { return pages_[id % pages]; }
    [[nodiscard]] std::string fault_of_error(const promise& made, const page& runs,
                                             const std::exception_ptr& thrown, bool swept) const;

    shared_counts* counts_;
    page* pages_;
};

}  // namespace storm

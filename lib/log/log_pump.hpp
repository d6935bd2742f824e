#pragma once

#include <sys/types.h>

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "log/log_ring.hpp"

// From the rings of a pool's workers to the host's handler. In two steps, so that its owner's lock
// is held in the first only: a handler may use the pool.

namespace prefork::logging {

/// Taken out of the rings, in the order of time; each worker's in the order in which it wrote them.
class log_batch {
  public:
    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    /// Calls the handler for each line. No lock is to be held.
    void deliver(std::string_view pool) const noexcept;

  private:
    friend class log_pump;
    struct entry {
        log_line line;
        std::chrono::system_clock::time_point order;
        pid_t pid;
        unsigned worker;
    };
    std::vector<entry> entries_;
};

/// Guarded by its owner's lock.
class log_pump {
  public:
    /// So many of a worker's last lines are kept for the error that tells of its end.
    static constexpr std::size_t longest_tail = 20;

    /// One ring a seat; they must outlive it.
    log_pump(log_ring* rings, unsigned seats);

    /// A new worker is about to be forked.
    void reset(unsigned seat) noexcept;
    /// Takes what is in the ring of `seat`. Once its worker is proved dead: all that it ever wrote.
    void collect(unsigned seat, pid_t pid, unsigned index);
    /// What was collected since the last time.
    [[nodiscard]] log_batch take();
    /// The next line of this worker wakes; false if there is something already.
    [[nodiscard]] bool fall_asleep(unsigned seat) noexcept;
    /// The last lines, "[info] text", newest last; delivered or not.
    [[nodiscard]] std::string tail(unsigned seat) const;

  private:
    struct seat_books {
        log_reader reader;
        std::deque<log_line> last;
    };
    std::vector<seat_books> seats_;
    std::vector<log_line> scratch_;
    log_batch waiting_;
};

}  // namespace prefork::logging

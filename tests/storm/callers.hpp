#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "prefork/prefork.hpp"
#include "storm/books.hpp"

// The host's threads: they submit, gather and check, and one of them disturbs the rest.

namespace storm {

struct tally {
    std::atomic<std::uint64_t> tasks{0};  ///< of which the end was seen
    std::atomic<std::uint64_t> values{0};
    std::atomic<std::uint64_t> threw{0};
    std::atomic<std::uint64_t> lost_workers{0};
    std::atomic<std::uint64_t> late{0};
    std::atomic<std::uint64_t> expired{0};
    std::atomic<std::uint64_t> cancelled{0};
    std::atomic<std::uint64_t> abandoned{0};
    std::atomic<std::uint64_t> lost{0};   ///< no end within 30 s
    std::atomic<std::uint64_t> wrong{0};  ///< an end that can't be
    std::atomic<std::uint64_t> refreshed{0};
    std::atomic<std::int64_t> last_end{0};  ///< nanoseconds of CLOCK_MONOTONIC
    std::atomic<std::int64_t> worst_stall{0};
};

class callers {
  public:
    callers(prefork::pool& pool, books& kept_in, const std::string& pool_name)
        : pool_(pool), books_(kept_in), label_(pool_name + "/x") {}

    /// A thread's life, until over().
    void submit_and_check(std::uint64_t seed);
    void disturb(std::uint64_t seed);
    void end() noexcept { over_ = true; }

    [[nodiscard]] tally& counted() noexcept { return tally_; }
    /// What was lost or wrong, the first ones; takes it.
    [[nodiscard]] std::string complaints();

  private:
    using random = std::mt19937_64;

    struct single {
        promise made;
        bool is_text;
        prefork::future<std::uint64_t> number;
        prefork::future<std::string> text;
    };

    [[nodiscard]] promise think_of(random& dice);
    [[nodiscard]] promise harmless();
    void submit_singles(random& dice, std::deque<single>& window);
    [[nodiscard]] single submit_one(random& dice);
    void finish_one(random& dice, single& one);
    template <class T>
    void gather(promise& made, prefork::future<T>& from, const T& right);
    void run_group(random& dice);
    void run_stream(random& dice);
    void run_map(random& dice);
    void run_array(random& dice);
    [[nodiscard]] std::vector<promise> many(std::size_t count);
    template <class Check>
    void check_many(std::vector<promise>& made, Check check);
    void judge(const promise& made, bool is_right, const std::exception_ptr& thrown);
    void note_loss(const promise& made);
    void note_end(std::uint64_t tasks) noexcept;
    void complain(const char* what, const promise& made, const std::string& why);

    prefork::pool& pool_;
    books& books_;
    const std::string label_;  ///< a process that bears it is still known as the pool's
    tally tally_;
    std::atomic<bool> over_{false};
    std::atomic<std::uint64_t> next_id_{1};
    /// Odd while cancel_all() or kill_all() goes on.
    std::atomic<std::uint64_t> sweeps_{0};
    std::mutex mutex_;
    std::string complaints_;
    unsigned complained_ = 0;
};

}  // namespace storm

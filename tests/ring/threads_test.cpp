// Ring and memory together, driven by threads, for the thread sanitizer: it follows no fork of a
// host with threads, and here it need not. Arguments, results and slots are plain memory, so a
// missing order between who writes and who reads them is a report, and a wrong byte without it.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "base/futex.hpp"
#include "memory/argument_arena.hpp"
#include "memory/result_arena.hpp"
#include "ring/ring.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/ring_memory.hpp"
#include "support/until.hpp"

namespace base = prefork::base;
namespace memory = prefork::memory;
namespace test = prefork::test;
using namespace prefork::ring;

namespace {

constexpr unsigned workers = 3;
constexpr std::size_t slots = 64;
constexpr std::uint64_t tasks_in_all = 20'000;
constexpr std::uint64_t most_in_flight = 40;
constexpr std::size_t largest = 5000;

/// A journal's part of the protocol: which run a worker has left though its commit failed, and
/// whether it is dead, which the host alone takes back.
struct alignas(128) journal {
    std::atomic<std::uint64_t> left{0};
    std::atomic<bool> dead{false};
};

struct shared_state {
    memory::region region{{1000, 1000, workers, 8u << 20, 64u << 20}};
    std::array<memory::budget::word, workers + 1> sums{};
    test::ring_memory memory{slots};
    std::array<journal, workers> journals{};
    std::atomic<bool> stop{false};
};

std::byte byte_of(std::uint64_t task) { return static_cast<std::byte>(task * 31 + 7); }

/// Claims, and copies arguments into a result of its own part; now and then it "dies" with what it
/// has claimed, or with a reservation, and comes back when the host has settled that.
class worker {
  public:
    worker(shared_state& with, unsigned seat)
        : with_(with),
          seat_(seat),
          tasks_(with.memory.make()),
          budget_(with.sums, 64u << 20),
          results_(with.region.results(seat), budget_, seat),
          random_(seat + 1) {}

    void run() {
        while (!with_.stop.load(std::memory_order_acquire)) {
            // What dies with a process is gone: a new claimer knows of no reservation.
            claimer claims{tasks_, seat_ + 1};
            live(claims);
        }
    }

  private:
    void live(claimer& claims) {
        while (!with_.stop.load(std::memory_order_acquire)) {
            auto task = claims.poll(1 + static_cast<unsigned>(random_() % 64));
            if (random_() % 400 == 0) return die();
            if (!task) {
                task = claims.park(base::monotonic::now() + std::chrono::milliseconds(50));
            }
            if (task) run_task(*task);
        }
    }

    void die() {
        std::atomic<bool>& dead = with_.journals[seat_].dead;
        dead.store(true, std::memory_order_release);
        static_cast<void>(test::until(
            [&] { return !dead.load(std::memory_order_acquire) || with_.stop.load(); }));
    }

    void run_task(const claimed_task& task) {
        slot& here = tasks_.at(task.position);
        const auto said = description::unpack(here.description.load(std::memory_order_relaxed));
        const std::byte* from = here.payload.data();
        std::uint64_t offset = 0;
        if (said.kind == payload_kind::block) {
            std::memcpy(&offset, from, sizeof offset);
            from = with_.region.base() + offset;
        }
        std::byte* const made = results_.allocate(said.size);
        if (made == nullptr) std::abort();  // Catch's macros are the main thread's
        std::memcpy(made, from, said.size);
        offset = with_.region.offset_of(made);
        std::memcpy(here.payload.data(), &offset, sizeof offset);
        here.description.store(description{.size = said.size, .kind = payload_kind::block}.pack(),
                               std::memory_order_relaxed);
        if (tasks_.commit(task.position, task.word) != commit_result::refused) return;
        results_.withdraw(made);
        with_.journals[seat_].left.store(task.word.bits(), std::memory_order_release);
    }

    shared_state& with_;
    unsigned seat_;
    ring tasks_;
    memory::budget budget_;
    memory::result_arena results_;
    std::minstd_rand random_;
};

/// The host's books and its one thread.
class host {
  public:
    explicit host(shared_state& with)
        : with_(with),
          tasks_(with.memory.make()),
          budget_(with.sums, 64u << 20),
          arguments_(with.region, budget_, workers) {}

    /// True when every task that was not given up came back right.
    void run() {
        while (done_ + given_up_ < tasks_in_all) {
            while (next_ < tasks_in_all && books_.size() < most_in_flight && publish_one()) {
            }
            settle_deaths();
            if (random_() % 8 == 0) give_up_one();
            wait_for_oldest();
            collect();
        }
    }
    [[nodiscard]] std::uint64_t done() const { return done_; }
    [[nodiscard]] std::uint64_t given_up() const { return given_up_; }
    [[nodiscard]] unsigned deaths() const { return deaths_; }
    [[nodiscard]] std::uint64_t blocks_left() const { return arguments_.used_blocks(); }

  private:
    struct task {
        std::uint64_t number = 0;
        std::size_t size = 0;
        memory::block arguments;
    };

    bool publish_one() {
        while (books_.count(position_ % slots) != 0) ++position_;  // skipped: it holds up itself
        slot& here = tasks_.at(position_);
        task made{next_, 1 + random_() % largest, {}};
        std::byte* to = here.payload.data();
        auto kind = payload_kind::inlined;
        if (made.size > inline_payload_bytes) {
            made.arguments = arguments_.allocate(made.size);
            REQUIRE(made.arguments);
            const std::uint64_t offset = with_.region.offset_of(made.arguments.data);
            std::memcpy(to, &offset, sizeof offset);
            to = made.arguments.data;
            kind = payload_kind::block;
        }
        std::memset(to, static_cast<int>(byte_of(made.number)), made.size);
        here.description.store(description{.size = made.size, .kind = kind}.pack(),
                               std::memory_order_relaxed);
        const auto as = static_cast<priority>(random_() % 3);
        books_[position_ % slots] = made;
        static_cast<void>(tasks_.publish(position_, as));
        ++position_;
        ++next_;
        return random_() % 16 != 0;
    }

    void settle_deaths() {
        for (unsigned seat = 0; seat < workers; ++seat) {
            if (!with_.journals[seat].dead.load(std::memory_order_acquire)) continue;
            ++deaths_;
            std::uint64_t oldest = position_;
            for (const auto& [index, each] : books_) {
                const slot_word word = tasks_.word(index);
                if (word.state() == state::claimed && word.owner() == seat + 1) {
                    refill(index, each);
                    REQUIRE(tasks_.put_back(word, word.attempt() + 1));
                } else if (word.state() == state::ready) {
                    const auto back = static_cast<std::uint64_t>(distance(word.seq(), position_));
                    oldest = std::min(oldest, position_ - back);
                }
            }
            tasks_.recover(seat + 1, oldest);
            with_.journals[seat].dead.store(false, std::memory_order_release);
        }
    }

    // The dead one may have written its result there.
    void refill(std::uint64_t index, const task& of) {
        slot& here = tasks_.at(index);
        if (of.arguments) {
            const std::uint64_t offset = with_.region.offset_of(of.arguments.data);
            std::memcpy(here.payload.data(), &offset, sizeof offset);
        } else {
            std::memset(here.payload.data(), static_cast<int>(byte_of(of.number)), of.size);
        }
        const auto kind = of.arguments ? payload_kind::block : payload_kind::inlined;
        here.description.store(description{.size = of.size, .kind = kind}.pack(),
                               std::memory_order_relaxed);
    }

    void give_up_one() {
        if (books_.empty()) return;
        const std::uint64_t index = books_.begin()->first;
        slot_word word = tasks_.word(index);
        while (word.state() == state::ready || word.state() == state::claimed) {
            const slot_word ended = word.with(state::cancelled);
            if (!tasks_.change(index, word, ended)) continue;
            ++given_up_;
            late_[index] = ended;
            return;
        }
    }

    // As a caller does: marks the word as waited for, and sleeps on it.
    void wait_for_oldest() {
        if (books_.empty()) return;
        const std::uint64_t index = books_.begin()->first;
        slot_word word = tasks_.word(index);
        if (word.is_terminal()) return;
        if (!tasks_.change(index, word, word.with_waited(true))) return;
        base::futex_wait(tasks_.at(index).futex(), word.with_waited(true).low_half(),
                         base::monotonic::now() + std::chrono::milliseconds(20));
    }

    // Of those that were given up while they ran, what their worker may still write to stays.
    [[nodiscard]] bool may_be_written(std::uint64_t index) {
        const auto late = late_.find(index);
        if (late == late_.end() || late->second.owner() == 0) return false;
        const journal& notes = with_.journals[late->second.owner() - 1];
        return !same_run(slot_word{notes.left.load(std::memory_order_acquire)}, late->second) &&
               !notes.dead.load(std::memory_order_acquire);
    }

    void collect() {
        for (auto each = books_.begin(); each != books_.end();) {
            const auto [index, of] = *each;
            const slot_word word = tasks_.word(index);
            if (!word.is_terminal() || may_be_written(index)) {
                ++each;
                continue;
            }
            if (word.state() == state::done) check_result(index, word, of);
            late_.erase(index);
            if (of.arguments) arguments_.release(of.arguments);
            tasks_.free(index);
            each = books_.erase(each);
        }
    }

    void check_result(std::uint64_t index, slot_word word, const task& of) {
        const slot& here = tasks_.at(index);
        const auto said = description::unpack(here.description.load(std::memory_order_relaxed));
        std::uint64_t offset = 0;
        std::memcpy(&offset, here.payload.data(), sizeof offset);
        const auto part = with_.region.results(word.owner() - 1);
        const auto result =
            memory::checked_result(part, offset - with_.region.offset_of(part.data()), said.size);
        REQUIRE(result.has_value());
        REQUIRE(result->size() == of.size);
        REQUIRE(std::all_of(result->begin(), result->end(),
                            [&](std::byte each) { return each == byte_of(of.number); }));
        memory::release_result(result->data());
        ++done_;
    }

    shared_state& with_;
    ring tasks_;
    memory::budget budget_;
    memory::argument_arena arguments_;
    std::minstd_rand random_{7};
    std::map<std::uint64_t, task> books_;      // by slot
    std::map<std::uint64_t, slot_word> late_;  // by slot: given up, as the word is since
    std::uint64_t position_ = 0;
    std::uint64_t next_ = 0;
    std::uint64_t done_ = 0;
    std::uint64_t given_up_ = 0;
    unsigned deaths_ = 0;
};

}  // namespace

TEST_CASE("arguments and results are whole, whoever sleeps, dies, gives up or is put back") {
    const test::leaks guard;
    shared_state with;
    std::vector<std::thread> threads;
    for (unsigned seat = 0; seat < workers; ++seat) {
        threads.emplace_back([&with, seat] { worker{with, seat}.run(); });
    }
    host here{with};
    here.run();
    with.stop.store(true, std::memory_order_release);
    for (unsigned seat = 0; seat < workers; ++seat) with.memory.make().beds().wake_seat(seat);
    for (std::thread& each : threads) each.join();
    CHECK(here.done() + here.given_up() == tasks_in_all);
    CHECK(here.given_up() > 0);
    CHECK(here.deaths() > 0);
    CHECK(here.blocks_left() == 0);
}

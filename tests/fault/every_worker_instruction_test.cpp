#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/all_work.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/log_lines.hpp"
#include "support/process_family.hpp"
#include "support/sanitizer.hpp"
#include "support/stepper.hpp"
#include "support/steps.hpp"

// design.md §6, "nothing is lost, nothing runs twice unless retries were allowed, nothing waits for
// ever": a worker goes from one sleep over claim, journal, call and commit to the next, and is
// killed after the 1st, 2nd, 3rd ... machine instruction of that way, each time in a new round.

namespace pf = prefork;
using namespace std::chrono_literals;
using pf::test::stepper;

namespace {

constexpr std::size_t sample = 16;  // of the instructions, but for an exhaustive run

// ---- what the tasks note, where their death takes nothing with it

struct notes {
    std::atomic<unsigned> runs;  ///< begun, of the task that the round is about
    std::atomic<pid_t> by;       ///< who began it last
    std::atomic<unsigned> calls;
    struct call {
        std::atomic<pid_t> by;
        std::atomic<unsigned> number;
    };
    std::array<call, 1 << 14> broadcast;
};

notes& noted() {
    static auto* const shared = static_cast<notes*>(
        ::mmap(nullptr, sizeof(notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    return *shared;
}
// In this order: one that dies in between has begun a run, and nobody takes it for another's.
void note_run() {
    ++noted().runs;
    noted().by = ::getpid();
}

// ---- a round

enum class verdict {
    elsewhere,  ///< the one that was stepped through had not begun it: another one ran it
    lost,       ///< it had begun: worker_lost
    again,      ///< it had begun, and another run was allowed
    kept,       ///< it had ended: its result stayed
};

/// What was submitted, and how to learn what became of it; exactly once.
struct sent {
    std::function<verdict()> settle;
    std::function<bool()> ready;
};

/// Who is stepped through.
enum class role {
    next,   ///< the worker that wakes first
    only,   ///< the one that is there, which leaves after each task
    spare,  ///< the one that is not a worker yet
};

struct scenario {
    std::string name;
    pf::pool_options options;
    sent (*send)(pf::pool&, pid_t victim);
    role who = role::next;
    /// Kills in the life of one pool: what leaks with each must be seen.
    std::size_t kills_per_pool = 50;
};

/// The result, or worker_lost as it has to be; `check` looks at the value.
template <class T, class Check>
verdict judge(pf::future<T>& task, pid_t victim, unsigned retries, Check check) {
    try {
        check(task.get_for(20s));
    } catch (const pf::worker_lost& lost) {
        CHECK(lost.signal() == SIGKILL);
        CHECK(lost.killed_by() == pf::killer::stranger);
        CHECK(lost.attempts() == retries + 1);
        CHECK(noted().runs <= retries + 1);
        return verdict::lost;
    }
    CHECK(noted().runs >= 1);
    CHECK(noted().runs <= retries + 1);
    if (noted().runs > 1) return verdict::again;
    return noted().by == victim ? verdict::kept : verdict::elsewhere;
}

template <class T>
sent follow(pf::future<T>&& of, pid_t victim, T right, unsigned retries = 0) {
    const auto task = std::make_shared<pf::future<T>>(std::move(of));
    return {
        [=] { return judge(*task, victim, retries, [&](const T& got) { CHECK(got == right); }); },
        [=] { return task->ready(); }};
}

bool asleep(pf::pool& pool) {
    const auto workers = pool.stats().workers;
    return std::all_of(workers.begin(), workers.end(),
                       [](const auto& each) { return pf::test::state_of(each.pid) == 'S'; });
}

pid_t server_of(pf::pool& pool) {
    return pool.submit([] { return ::getppid(); }).get_for(20s);
}

/// Who wakes first when all sleep: whoever answers twice in a row. Its answer is also the proof
/// that the pool serves the next round.
pid_t next_worker(pf::pool& pool, unsigned workers, bool sleeps) {
    const auto there = [&] {
        return pool.stats().workers.size() == workers && (!sleeps || asleep(pool));
    };
    if (workers > 1) {
        REQUIRE(pf::test::until(there, 20s));
        REQUIRE(pf::test::all_work(pool, workers));
    }
    pid_t before = 0;
    for (;;) {
        REQUIRE(pf::test::until(there, 20s));
        const pid_t pid = pool.submit([] { return ::getpid(); }).get_for(20s);
        if (pid != before) {
            before = pid;
            continue;
        }
        REQUIRE(pf::test::until(there, 20s));
        return pid;
    }
}

/// One that waits for its first task, where each leaves after one.
pid_t only_worker(pf::pool& pool) {
    pid_t only = 0;
    REQUIRE(pf::test::until(
        [&] {
            const auto workers = pool.stats().workers;
            if (workers.size() != 1) return false;
            only = workers[0].pid;
            // Who ran the last task sleeps on its way out, too.
            return only != noted().by && pf::test::state_of(only) == 'S';
        },
        20s));
    return only;
}

pid_t spare_of(pf::pool& pool) {
    const pid_t server = server_of(pool);
    pid_t spare = 0;
    REQUIRE(pf::test::until(
        [&] {
            const auto workers = pool.stats().workers;
            spare = 0;
            for (const pid_t child : pf::test::children_of(server)) {
                if (std::none_of(workers.begin(), workers.end(),
                                 [&](const auto& each) { return each.pid == child; }) &&
                    pf::test::state_of(child) == 'S') {
                    spare = child;
                }
            }
            return workers.size() == 1 && spare != 0;
        },
        20s));
    return spare;
}

/// To where every round begins: in the sleep, or at the clock that a spinning worker looks at once
/// in each turn of its loop.
void align(stepper& worker, bool sleeps) {
    if (sleeps) {
        while (!worker.in_system_call() && !worker.at_futex_wait() && worker.step()) {
        }
    } else {
        while (!worker.at_rdtsc() && worker.step()) {
        }
    }
    REQUIRE(!worker.ended());
}

/// Whether its way is over: about to sleep again; or, if it doesn't sleep, some way into its loop.
class way_end {
  public:
    way_end(const stepper& worker, const sent& task, bool sleeps)
        : worker_(worker), task_(task), sleeps_(sleeps) {}
    bool operator()() {
        constexpr unsigned more = 200;
        if (sleeps_) return worker_.at_futex_wait();
        return (after_ > 0 || task_.ready()) && ++after_ > more;
    }

  private:
    const stepper& worker_;
    const sent& task_;
    bool sleeps_;
    unsigned after_ = 0;
};

std::size_t open_descriptors() {
    std::filesystem::directory_iterator all{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

class walk {
  public:
    explicit walk(const scenario& of)
        : of_(of), sleeps_(of.options.idle != pf::idle::spin), path_(sleeps_) {}
    void operator()();

  private:
    void record();
    [[nodiscard]] pf::test::recorded_path recorded();
    bool go_round(pf::pool& pool, std::size_t instructions, bool by_steps = false);
    void check_pool(pf::pool& pool, std::size_t descriptors);
    [[nodiscard]] pid_t victim(pf::pool& pool) {
        if (of_.who == role::spare) return spare_of(pool);
        return of_.who == role::only ? only_worker(pool)
                                     : next_worker(pool, of_.options.workers, sleeps_);
    }
    sent send(pf::pool& pool, pid_t to) {
        noted().runs = 0;
        noted().by = 0;
        return of_.send(pool, to);
    }

    const scenario& of_;
    bool sleeps_;
    pf::test::recorded_path path_;
    std::size_t kills_ = 0;
    std::size_t reached_ = 0;
    std::array<std::size_t, 4> verdicts_{};
};

// A death before that, because the host's first look at one binds functions of the shared libraries
// that later workers then inherit bound. The way of one that doesn't sleep is as long as it happens
// to look for its task: the shortest is the one that most come to the end of.
void walk::record() {
    {
        pf::pool pool{of_.options};
        go_round(pool, 0);
    }
    path_ = recorded();
    for (int i = 0; !sleeps_ && i < 4; ++i) {
        if (auto other = recorded(); other.size() < path_.size()) path_ = std::move(other);
    }
}

// The whole way of one that nobody kills.
pf::test::recorded_path walk::recorded() {
    pf::test::recorded_path path{sleeps_};
    pf::pool pool{of_.options};
    const pid_t pid = victim(pool);
    stepper worker{pid};
    align(worker, sleeps_);
    const sent task = send(pool, pid);
    way_end over{worker, task, sleeps_};
    do {
        path.add(worker.address());
    } while (worker.step() && !over());
    REQUIRE(task.settle() == (of_.who == role::spare ? verdict::again : verdict::kept));
    return path;
}

bool walk::go_round(pf::pool& pool, std::size_t instructions, bool by_steps) {
    CAPTURE(of_.name, instructions, path_.size());
    const pid_t pid = victim(pool);
    stepper worker{pid};
    align(worker, sleeps_);
    const sent task = send(pool, pid);
    const bool there = path_.walk(worker, instructions, way_end{worker, task, sleeps_}, by_steps);
    const bool begun = noted().by == pid;
    const bool ended = task.ready();
    worker.kill();
    const verdict found = task.settle();
    ++verdicts_[static_cast<std::size_t>(found)];
    ++kills_;
    if (begun) CHECK(found != verdict::elsewhere);
    if (ended) CHECK(found == (of_.who == role::spare ? verdict::again : verdict::kept));
    return there;
}

void walk::check_pool(pf::pool& pool, std::size_t descriptors) {
    const pid_t server = server_of(pool);
    const std::size_t processes = of_.options.workers + 1;
    CHECK(pf::test::until([&] { return pf::test::children_of(server).size() == processes; }, 20s));
    // 1: of the spare, which may not have been there when they were counted.
    CHECK(pf::test::until([&] { return open_descriptors() <= descriptors + 1; }, 20s));
    // Once the host has heard that the last replacement has started, which may have run a task
    // before.
    CHECK(pf::test::until([&] { return pool.healthy(); }, 20s));
}

void walk::operator()() {
    pf::test::require_stepping();
    noted().calls = 0;  // mapped now, before a worker is forked
    const pf::test::leaks none_left;
    record();
    kills_ = 0;
    verdicts_ = {};
    const std::vector<std::size_t> places = path_.places();
    std::vector<std::size_t> steps = pf::test::steps_to_try(places.size() - 1, sample);
    for (std::size_t& each : steps) each = places[each];
    for (std::size_t at = 0; at < steps.size();) {
        pf::pool pool{of_.options};
        static_cast<void>(victim(pool));
        const std::size_t descriptors = open_descriptors();
        for (std::size_t i = 0; i < of_.kills_per_pool && at < steps.size(); ++i) {
            // One that took another way did not meet the breakpoint: by steps alone, then.
            const bool there = go_round(pool, steps[at]) || go_round(pool, steps[at], true);
            reached_ += there;
            ++at;
        }
        check_pool(pool, descriptors);
    }
    std::printf(
        "covered: %s: %zu kills on a way of %zu instructions, %zu of them where planned: the task "
        "ran elsewhere %zu, was lost %zu, ran again %zu, had ended %zu\n",
        of_.name.c_str(), kills_, places.size() - 1, reached_, verdicts_[0], verdicts_[1],
        verdicts_[2], verdicts_[3]);
    CHECK(reached_ * 10 >= steps.size() * 9);
}

pf::pool_options parked(unsigned workers = 1) {
    return {.workers = workers, .idle = pf::idle::park};
}

/// The longest ways take minutes with a sanitizer.
bool left_out_sanitized() {
    if (!pf::test::sanitized()) return false;
    std::puts("left out with a sanitizer: too many instructions");
    return true;
}

// ---- tasks

int twice(int x) {
    note_run();
    return 2 * x;
}
std::string stretch(const std::string& text) {
    note_run();
    return text + text;
}

}  // namespace

TEST_CASE("a worker that dies after any instruction of a task, while another one sleeps") {
    walk{{"a task", parked(2), [](pf::pool& pool, pid_t victim) {
              return follow(pool.submit(twice, 21), victim, 42);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task that may run again") {
    pf::pool_options options = parked();
    options.retries = 1;
    walk{{"a task with a retry", options, [](pf::pool& pool, pid_t victim) {
              return follow(pool.submit(twice, 21), victim, 42, 1);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of the way on which it wakes another one") {
    walk{{"two tasks", parked(2), [](pf::pool& pool, pid_t victim) {
              const sent first = follow(pool.submit(twice, 21), victim, 42);
              const auto second = std::make_shared<pf::future<int>>(pool.submit([] { return 7; }));
              return sent{[=] {
                              const verdict found = first.settle();
                              try {
                                  const int got = second->get_for(20s);
                                  CHECK(got == 7);
                              } catch (const pf::worker_lost& lost) {
                                  CHECK(found != verdict::lost);  // it ran one at a time
                              }
                              return found;
                          },
                          first.ready};
          }}}();
}

TEST_CASE("a spare that dies after any instruction of its start and of a task that was put back") {
    if (left_out_sanitized()) return;
    pf::pool_options options = parked();
    options.retries = 1;
    options.on_worker_start = [] {};
    walk{{"a spare's start, and a task put back", options,
          [](pf::pool& pool, pid_t victim) {
              const auto lost = pool.stats().lost_workers;
              const auto task = std::make_shared<pf::future<int>>(pool.submit([] {
                  note_run();
                  if (noted().runs == 1) ::raise(SIGKILL);
                  return 42;
              }));
              // Then the host has given the spare its place.
              REQUIRE(pf::test::until([&] { return pool.stats().lost_workers > lost; }, 20s));
              return sent{
                  [=] { return judge(*task, victim, 1, [](int got) { CHECK(got == 42); }); },
                  [=] { return task->ready(); }};
          },
          role::spare}}();
}

TEST_CASE("a worker that dies after any instruction of a task of high priority") {
    walk{{"high priority", parked(), [](pf::pool& pool, pid_t victim) {
              return follow(pool.with({.priority = pf::priority::high}).submit(twice, 21), victim,
                            42);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task of low priority") {
    walk{{"low priority", parked(), [](pf::pool& pool, pid_t victim) {
              return follow(pool.with({.priority = pf::priority::low}).submit(twice, 21), victim,
                            42);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task whose bytes need blocks") {
    pf::pool_options options = parked();
    options.memory_budget = 256 << 10;
    walk{{"blocks", options, [](pf::pool& pool, pid_t victim) {
              // So large that the budget would be used up before the pool has its last round.
              const std::string text(6000, 'x');
              return follow(pool.submit(stretch, text), victim, text + text);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task that returns a shared_array") {
    pf::pool_options options = parked();
    options.memory_budget = 256 << 10;
    walk{{"shared_array", options, [](pf::pool& pool, pid_t victim) {
              auto task = std::make_shared<pf::future<pf::shared_array<int>>>(pool.submit([] {
                  note_run();
                  auto numbers = pf::make_shared_array<int>(3000);
                  numbers[0] = 1;
                  numbers[2999] = 2;
                  return numbers;
              }));
              return sent{[=] {
                              return judge(*task, victim, 0, [](const pf::shared_array<int>& got) {
                                  CHECK(got.size() == 3000);
                                  CHECK(got[0] + got[2999] == 3);
                              });
                          },
                          [=] { return task->ready(); }};
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task that throws") {
    if (left_out_sanitized()) return;
    walk{{"a task that throws", parked(), [](pf::pool& pool, pid_t victim) {
              const auto task = std::make_shared<pf::future<int>>(pool.submit([]() -> int {
                  note_run();
                  throw std::out_of_range("thrown");
              }));
              return sent{[=] {
                              try {
                                  return judge(*task, victim, 0, [](int) { FAIL("no error"); });
                              } catch (const std::out_of_range& e) {
                                  CHECK(std::string{e.what()} == "thrown");
                                  CHECK(noted().runs == 1);
                                  return noted().by == victim ? verdict::kept : verdict::elsewhere;
                              }
                          },
                          [=] { return task->ready(); }};
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a watched task") {
    walk{{"a watched task", parked(), [](pf::pool& pool, pid_t victim) {
              auto task = std::make_shared<pf::future<int>>(pool.submit(twice, 21));
              auto called = std::make_shared<int>(0);
              task->on_ready([called] { ++*called; });
              const int events = pool.event_fd();
              pf::pool* const of = &pool;
              return sent{[=] {
                              // Told by the descriptor, not found by looking.
                              while (*called == 0) {
                                  pollfd one{events, POLLIN, 0};
                                  REQUIRE(::poll(&one, 1, 20'000) == 1);
                                  static_cast<void>(of->poll());
                              }
                              static_cast<void>(of->poll());
                              CHECK(*called == 1);
                              return judge(*task, victim, 0, [](int got) { CHECK(got == 42); });
                          },
                          [=] { return task->ready(); }};
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a labelled task") {
    walk{{"a label", parked(), [](pf::pool& pool, pid_t victim) {
              return follow(pool.with({.label = "instructions"}).submit(twice, 21), victim, 42);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task that it looked for without sleep") {
    pf::pool_options options = parked();
    options.idle = pf::idle::spin;
    walk{{"a polled task", options, [](pf::pool& pool, pid_t victim) {
              return follow(pool.submit(twice, 21), victim, 42);
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task that somebody waits for asleep") {
    walk{{"a waited task", parked(), [](pf::pool& pool, pid_t victim) {
              auto task = std::make_shared<pf::future<int>>(pool.submit(twice, 21));
              auto waiter = std::make_shared<std::atomic<pid_t>>(0);
              auto waiting = std::make_shared<std::future<bool>>(
                  std::async(std::launch::async, [task, waiter] {
                      *waiter = static_cast<pid_t>(::syscall(SYS_gettid));
                      return task->wait_for(20s);
                  }));
              REQUIRE(pf::test::until(
                  [&] { return *waiter != 0 && pf::test::state_of(::getpid(), *waiter) == 'S'; }));
              return sent{[=] {
                              CHECK(waiting->get());
                              return judge(*task, victim, 0, [](int got) { CHECK(got == 42); });
                          },
                          [] { return false; }};
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a task that writes a log line") {
    static pf::test::log_lines* lines;
    pf::test::log_lines here;
    lines = &here;
    walk{{"a log line", parked(), [](pf::pool& pool, pid_t victim) {
              const std::size_t before = lines->size();
              auto task = std::make_shared<pf::future<int>>(pool.submit([] {
                  note_run();
                  pf::log(pf::level::info, "half of {} is {}", 42, 21);
                  return 42;
              }));
              return sent{[=] {
                              const verdict found =
                                  judge(*task, victim, 0, [](int got) { CHECK(got == 42); });
                              const auto written = [=] { return lines->size() - before; };
                              // One that ended has its line; one that was lost may have it. Never
                              // two.
                              if (found != verdict::lost) {
                                  CHECK(pf::test::until([&] { return written() == 1; }, 20s));
                              }
                              CHECK(written() <= 1);
                              if (written() == 1)
                                  CHECK(lines->texts().back() == "half of 42 is 21");
                              return found;
                          },
                          [=] { return task->ready(); }};
          }}}();
}

TEST_CASE("a worker that dies after any instruction of a broadcast") {
    walk{{"a broadcast", parked(2), [](pf::pool& pool, pid_t victim) {
              static unsigned last = 0;
              const unsigned number = ++last;
              pf::pool* const of = &pool;
              noted().calls = 0;
              auto calling =
                  std::make_shared<std::future<void>>(std::async(std::launch::async, [of, number] {
                      of->broadcast(
                          [](unsigned call) {
                              auto& note = noted().broadcast[noted().calls++];
                              note.by = ::getpid();
                              note.number = call;
                              note_run();
                          },
                          number);
                  }));
              return sent{[=] {
                              REQUIRE(calling->wait_for(20s) == std::future_status::ready);
                              calling->get();
                              const auto runs_of = [&](pid_t pid) {
                                  unsigned runs = 0;
                                  for (unsigned i = 0; i < noted().calls; ++i) {
                                      runs += noted().broadcast[i].by == pid &&
                                              noted().broadcast[i].number == number;
                                  }
                                  return runs;
                              };
                              REQUIRE(pf::test::until(
                                  [&] { return of->stats().workers.size() == 2; }, 20s));
                              for (const auto& each : of->stats().workers) {
                                  CHECK(runs_of(each.pid) == 1);
                              }
                              CHECK(runs_of(victim) <= 1);
                              return runs_of(victim) == 1 ? verdict::kept : verdict::elsewhere;
                          },
                          [=] { return calling->wait_for(0s) == std::future_status::ready; }};
          }}}();
}

TEST_CASE("a worker that dies after any instruction of its last task and of its way out") {
    pf::pool_options options = parked();
    options.max_tasks_per_worker = 1;
    options.on_worker_exit = [] {};
    walk{{"a last task, and the way out", options,
          [](pf::pool& pool, pid_t victim) { return follow(pool.submit(twice, 21), victim, 42); },
          role::only}}();
}

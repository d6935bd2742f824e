#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/fail_point.hpp"
#include "prefork/prefork.hpp"
#include "support/until.hpp"

// What a pool is asked to do while something goes wrong (every_fail_point_test.cpp), and what has
// to be true all the same. Each workload brings by itself all that it needs.

namespace prefork::test {

/// Longer than anything takes here, on a slow machine too: what is waited for so long never comes.
inline constexpr std::chrono::seconds forever{20};

/// The promise: each task ends once, with its result or a typed error, and no more of them with an
/// error than the one thing that goes wrong can cost.
class promise {
  public:
    /// With `stops`, a worker may stand still for good: then tasks have a timeout.
    explicit promise(bool stops) : stops_(stops) {
        void* const page = ::mmap(nullptr, sizeof(std::atomic<int>) * most_tasks,
                                  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        runs = static_cast<std::atomic<int>*>(page);
    }

    [[nodiscard]] pool_options options() const {
        using namespace std::chrono_literals;
        pool_options how{.workers = 2};
        how.grace = 20ms;
        if (!stops_) return how;
        how.timeout = 1s;
        how.worker_start_timeout = 2s;
        return how;
    }

    /// Submits a task that runs once and gives back 3 × its number.
    template <class Pool>
    void submit(Pool&& to, unsigned runs_allowed = 1) {
        const int number = next_++;
        allowed_.push_back(runs_allowed);
        results_.push_back(to.submit(counted, number));
    }
    static int counted(int number) {
        runs[number].fetch_add(1);
        return 3 * number;
    }

    /// All that was submitted has ended; each as it should have.
    void settle() {
        for (std::size_t i = 0; i < results_.size(); ++i) {
            const int number = first_ + static_cast<int>(i);
            const bool ran = expect(results_[i], 3 * number);
            const auto counts = static_cast<unsigned>(runs[number].load());
            if (ran && counts == 0) say("a result without a run");
            if (counts > allowed_[i]) say("a task ran " + std::to_string(counts) + " times");
        }
        first_ = next_;
        results_.clear();
        allowed_.clear();
    }

    /// True for the value; false for a typed error.
    template <class T>
    bool expect(future<T>& result, const T& value) {
        try {
            if (result.get_for(forever) != value) say("a wrong result");
            return true;
        } catch (const wait_timeout&) {
            say("a task never ended");
        } catch (const error& e) {
            forgive(e.what());
        }
        return false;
    }
    /// `call` throws nothing but what is typed.
    template <class Call>
    void attempt(Call call) {
        try {
            call();
        } catch (const error& e) {
            forgive(e.what());
        } catch (const std::system_error& e) {
            forgive(e.what());
        }
    }
    /// The end of a task that can't have a result.
    template <class Error, class T>
    void expect_error(future<T>& result) {
        try {
            static_cast<void>(result.get_for(forever));
            say("a result where there can be none");
        } catch (const wait_timeout&) {
            say("a task never ended");
        } catch (const Error&) {
        } catch (const error& e) {
            forgive(e.what());
        }
    }

    /// It works, and goes on to when a process that was stopped goes on.
    template <class Pool>
    void serve(Pool& pool) {
        settle();
        attempt([&] { submit(pool); });
        settle();
        if (const pid_t stopped = base::fail_point::stopped(); stopped != 0 && !continued_) {
            continued_ = true;
            ::kill(stopped, SIGCONT);
            attempt([&] {
                for (int i = 0; i < 4; ++i) submit(pool);
            });
            settle();
        }
    }

    void say(const std::string& what) { complaints_ += what + "\n"; }
    void forgive(const std::string& what) { forgiven_.push_back(what); }
    [[nodiscard]] const std::string& complaints() const { return complaints_; }
    [[nodiscard]] const std::vector<std::string>& forgiven() const { return forgiven_; }
    [[nodiscard]] bool stops() const { return stops_; }

    static inline std::atomic<int>* runs = nullptr;

  private:
    static constexpr std::size_t most_tasks = 1000;

    bool stops_;
    bool continued_ = false;
    int first_ = 0;
    int next_ = 0;
    std::vector<future<int>> results_;
    std::vector<unsigned> allowed_;
    std::string complaints_;
    std::vector<std::string> forgiven_;
};

namespace workloads {

using namespace std::chrono_literals;

inline std::string twice(const std::string& text) { return text + text; }
inline int throws(int x) { throw std::out_of_range("task " + std::to_string(x)); }
inline int never_ends() {
    for (;;) ::pause();
}

/// Some of everything that goes well.
inline void plain(promise& all) {
    pool on{all.options()};
    for (int i = 0; i < 12; ++i) all.submit(on);
    all.settle();
    const std::string text(5000, 'x');
    std::vector<future<std::string>> large;
    for (int i = 0; i < 3; ++i) large.push_back(on.submit(twice, text));
    for (auto& each : large) all.expect(each, text + text);
    auto thrown = on.submit(throws, 7);
    all.expect_error<task_error>(thrown);
    all.attempt([&] {
        const std::vector<int> items{1, 2, 3, 4, 5};
        const auto mapped = on.map(items, [](int x) { return 2 * x; });
        if (mapped != std::vector<int>{2, 4, 6, 8, 10}) all.say("a wrong map");
    });
    all.serve(on);
}

/// The host has threads of its own when the pool is made.
inline void threaded(promise& all) {
    std::atomic<bool> end{false};
    std::thread other{[&] { end.wait(false); }};
    all.attempt([&] {
        pool on{all.options()};
        all.submit(on);
        all.serve(on);
    });
    end = true;
    end.notify_all();
    other.join();
}

/// Workers that never sleep, and tasks that come one by one.
inline void polled(promise& all) {
    pool_options how = all.options();
    how.idle = idle::spin;
    pool on{how};
    for (int i = 0; i < 5; ++i) {
        all.submit(on);
        all.settle();
    }
    all.serve(on);
}

/// Each task finds every worker asleep; bursts wake one another.
inline void asleep(promise& all) {
    pool_options how = all.options();
    how.idle = idle::park;
    pool on{how};
    for (int i = 0; i < 5; ++i) {
        for (int j = 0; j < 8; ++j) all.submit(on);
        all.settle();
    }
    all.serve(on);
}

/// By way of callbacks and of the first of several.
inline void watched(promise& all) {
    pool on{all.options()};
    std::vector<future<int>> several;
    for (int i = 0; i < 3; ++i)
        several.push_back(on.submit([](int x) { return std::this_thread::sleep_for(20ms), x; }, i));
    if (!when_any_for(several, forever)) all.say("when_any hears of none");
    for (int i = 0; i < 3; ++i) all.expect(several[static_cast<std::size_t>(i)], i);
    int called = 0;
    for (int i = 0; i < 3; ++i) {
        on.submit(promise::counted, 900 + i).on_ready([&](const expected<int>& result) {
            ++called;
            if (!result) all.forgive(result.error().what());
        });
    }
    // A worker that is stopped before it tells of what it did tells of it when it goes on.
    if (!until([&] { return on.poll() && called == 3; }, all.stops() ? 3s : forever)) {
        if (!all.stops()) all.say("a callback never came");
    }
    all.serve(on);
}

/// Over their time, running and waiting.
inline void late(promise& all) {
    pool on{all.options()};
    auto stuck = on.with({.timeout = 50ms}).submit(never_ends);
    all.expect_error<task_timeout>(stuck);
    auto polite = on.with({.timeout = 50ms}).submit([](std::stop_token stop) {
        while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
        return 0;
    });
    all.expect_error<task_timeout>(polite);
    const auto past = std::chrono::steady_clock::now() - 1ms;
    auto expired = on.with({.deadline = past}).submit(promise::counted, 950);
    all.expect_error<task_expired>(expired);
    auto given_up = on.submit(never_ends);
    given_up.cancel();
    all.expect_error<cancelled>(given_up);
    auto ended = on.submit(never_ends);
    static_cast<void>(until([&] { return on.kill_all() > 0 || ended.ready(); }, forever));
    all.expect_error<cancelled>(ended);
    all.serve(on);
}

/// Waiting ones reach the worker past their deadline: the worker sees to it.
inline void expired(promise& all) {
    pool_options how = all.options();
    how.idle = idle::spin;  // or the monitor sees it first
    pool on{how};
    for (int i = 0; i < 20; ++i) {
        auto past =
            on.with({.deadline = std::chrono::steady_clock::now()}).submit(promise::counted, 960);
        all.expect_error<task_expired>(past);
    }
    on.pause();
    auto waiting =
        on.with({.deadline = std::chrono::steady_clock::now()}).submit(promise::counted, 960);
    on.resume();
    all.expect_error<task_expired>(waiting);
    all.serve(on);
}

/// Workers that die, with another run and without.
inline void crashed(promise& all) {
    pool on{all.options()};
    auto fault = on.submit([] { return *static_cast<volatile int*>(nullptr); });
    all.expect_error<worker_lost>(fault);
    auto again = on.with({.retries = 2}).submit([] {
        if (promise::runs[970].fetch_add(1) == 0) ::raise(SIGKILL);
        return 1;
    });
    all.expect(again, 1);
    for (int i = 0; i < 4; ++i) all.submit(on);
    all.serve(on);
}

/// Of three priorities, behind something that holds every worker up.
inline void ordered(promise& all) {
    pool on{all.options()};
    on.pause();
    for (const auto level : {priority::low, priority::high, priority::normal}) {
        for (int i = 0; i < 3; ++i) all.submit(on.with({.priority = level}));
    }
    on.resume();
    all.serve(on);
}

/// The budget and the queue are small.
inline void crowded(promise& all) {
    pool_options how = all.options();
    how.queue_limit = 2;
    how.memory_budget = 1u << 20;
    pool on{how};
    const std::string text(250'000, 'x');
    std::vector<future<std::string>> large;
    for (int i = 0; i < 6; ++i) large.push_back(on.submit([](std::string s) { return s; }, text));
    for (auto& each : large) all.expect(each, text);
    for (int i = 0; i < 12; ++i) all.submit(on);
    all.settle();
    auto big = on.submit([] { return std::string(900'000, 'y'); });
    all.expect(big, std::string(900'000, 'y'));
    auto argument =
        on.submit([](const std::string& s) { return s.size(); }, std::string(900'000, 'z'));
    all.expect(argument, std::size_t{900'000});
    all.serve(on);
}

inline void refreshed(promise& all) {
    pool on{all.options()};
    for (int i = 0; i < 4; ++i) all.submit(on);
    all.attempt([&] { on.refresh(); });
    for (int i = 0; i < 4; ++i) all.submit(on);
    all.serve(on);
}

inline void broadcast(promise& all) {
    pool on{all.options()};
    all.attempt([&] { on.broadcast(promise::counted, 980); });
    all.attempt([&] { on.broadcast(promise::counted, 981); });
    for (int i = 0; i < 4; ++i) all.submit(on);
    all.serve(on);
}

inline void logged(promise& all) {
    std::atomic<int> lines{0};
    set_log_handler([&](const log_record&) { ++lines; });
    {
        pool on{all.options()};
        std::vector<future<int>> talkers;
        for (int i = 0; i < 4; ++i) {
            talkers.push_back(on.submit(
                [](int x) {
                    log(level::warning, "task {}", x);
                    return x;
                },
                i));
        }
        for (int i = 0; i < 4; ++i) all.expect(talkers[static_cast<std::size_t>(i)], i);
        all.serve(on);
    }
    set_log_handler({});
    if (all.forgiven().empty() && lines != 4 && !all.stops()) all.say("lines are missing");
}

/// With all limits, replaced after a few tasks, and hooks at both ends.
inline void limited(promise& all) {
    pool_options how = all.options();
    how.worker_memory_limit = 64u << 20;
    how.max_load_average = 1000;
    how.max_tasks_per_worker = 3;
    how.on_worker_start = [] {};
    how.on_worker_exit = [] {};
    pool on{how};
    for (int i = 0; i < 20; ++i) {
        all.submit(on);
        if (i % 5 == 4) all.settle();
    }
    all.serve(on);
    // A look at its memory, and at the load, comes by itself.
    auto rests = on.submit([] { return std::this_thread::sleep_for(250ms), 1; });
    all.expect(rests, 1);
    all.attempt([&] { on.shutdown(1s); });
}

/// Workers that don't leave by themselves.
inline void unwilling(promise& all) {
    pool_options how = all.options();
    how.on_worker_exit = [] {
        for (;;) ::pause();
    };
    pool on{how};
    for (int i = 0; i < 4; ++i) all.submit(on);
    all.serve(on);
    all.attempt([&] { on.shutdown(0s); });
}

/// Tasks leave children behind whose memory takes the kernel a while to give back.
inline void littered(promise& all) {
    pool on{all.options()};
    const auto litters = [] {
        int lives[2];
        if (::pipe(lives) != 0) return 0;
        if (::fork() == 0) {
            static_cast<void>(::mmap(nullptr, std::size_t{64} << 20, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
            static_cast<void>(!::write(lives[1], "x", 1));
            for (;;) ::pause();
        }
        char byte = 0;
        static_cast<void>(!::read(lives[0], &byte, 1));
        for (const int fd : lives) ::close(fd);
        return 1;
    };
    auto litter = on.submit(litters);
    all.expect(litter, 1);
    all.serve(on);
}

/// The fork server dies by a stranger's hand.
inline void bereft(promise& all) {
    pool on{all.options()};
    auto parent = on.submit([] { return ::getppid(); });
    try {
        const pid_t server = parent.get_for(forever);
        if (server > 1 && server != ::getpid()) ::kill(server, SIGKILL);
    } catch (const error& e) {
        all.forgive(e.what());
    }
    // All its workers go with it.
    if (!until([&] { return on.stats().lost_workers >= 2 || !on.healthy(); }, forever) &&
        !all.stops())
        all.say("the end of the fork server went unheard");
    for (int i = 0; i < 4; ++i) all.attempt([&] { all.submit(on); });
    all.serve(on);
}

/// A second pool, which must let go of the first one's memory.
inline void beside_another(promise& all) {
    pool first{all.options()};
    all.attempt([&] {
        pool second{all.options()};
        for (int i = 0; i < 4; ++i) all.submit(second);
        all.settle();
    });
    for (int i = 0; i < 4; ++i) all.submit(first);
    all.serve(first);
}

/// Arrays in the region, both ways.
inline void arrays(promise& all) {
    pool on{all.options()};
    all.attempt([&] {
        auto numbers = on.make_shared_array<int>(100'000);
        numbers.span()[99'999] = 5;
        auto doubled = on.submit(
            [](shared_array<int> in) {
                auto out = make_shared_array<int>(in.size());
                out.span()[0] = 2 * in.span()[in.size() - 1];
                return out;
            },
            numbers);
        const auto out = doubled.get_for(forever);
        if (out.span()[0] != 10) all.say("a wrong array");
    });
    all.serve(on);
}

struct workload {
    const char* name;
    void (*run)(promise&);
};

inline constexpr workload all[] = {
    {"plain", plain},       {"threaded", threaded},   {"polled", polled},
    {"asleep", asleep},     {"watched", watched},     {"late", late},
    {"expired", expired},   {"crashed", crashed},     {"ordered", ordered},
    {"crowded", crowded},   {"refreshed", refreshed}, {"broadcast", broadcast},
    {"logged", logged},     {"limited", limited},     {"unwilling", unwilling},
    {"littered", littered}, {"bereft", bereft},       {"beside another", beside_another},
    {"arrays", arrays},
};

}  // namespace workloads

}  // namespace prefork::test

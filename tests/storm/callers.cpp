#include "storm/callers.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <thread>
#include <utility>

#include "storm/deeds.hpp"

namespace storm {
namespace {

namespace pf = prefork;
using namespace std::chrono_literals;

// Nothing here takes longer than a second or two by itself.
constexpr std::chrono::seconds generous{30};
constexpr std::size_t window_size = 48;
constexpr unsigned most_complaints = 20;
constexpr unsigned many_retries = 1000;

bool one_in(std::mt19937_64& dice, unsigned many) { return dice() % many == 0; }

// 1 ms to 1 s, as many below 30 ms as above.
std::chrono::microseconds some_time(std::mt19937_64& dice) {
    const double exponent = std::uniform_real_distribution<double>{0, 3}(dice);
    return std::chrono::microseconds{static_cast<std::int64_t>(1000 * std::pow(10.0, exponent))};
}

deed some_deed(std::mt19937_64& dice) {
    const auto thrown = dice() % 1000;
    if (thrown < 500) return deed::nothing;
    if (thrown < 850) return deed::spin;
    if (thrown < 900) return deed::nap;
    if (thrown < 935) return deed::throws;
    if (thrown < 960) return deed::kill;
    if (thrown < 970) return deed::fault;
    if (thrown < 978) return deed::leave;
    if (thrown < 984) return deed::abort;
    if (thrown < 988) return deed::children;
    if (thrown < 996) return deed::hang;
    if (thrown < 998) return deed::stop;
    constexpr deed hungry[] = {deed::litter, deed::litter, deed::hog, deed::brood};
    return has_memory_limit && one_in(dice, 4) ? hungry[dice() % 4] : deed::nothing;
}

std::uint32_t some_micros(std::mt19937_64& dice, deed what) {
    const std::uint64_t most = what == deed::nap || what == deed::children ? 3000 : 50;
    return static_cast<std::uint32_t>(dice() % most);
}

}  // namespace

// ---- threads

void callers::submit_and_check(std::uint64_t seed) {
    random dice{seed};
    std::deque<single> window;
    while (!over_) {
        submit_singles(dice, window);
        switch (dice() % 24) {
            case 0:
                run_group(dice);
                break;
            case 1:
                run_stream(dice);
                break;
            case 2:
                run_map(dice);
                break;
            case 3:
                run_array(dice);
                break;
            default:
                break;
        }
    }
    for (single& each : window) finish_one(dice, each);
}

void callers::disturb(std::uint64_t seed) {
    random dice{seed};
    while (!over_) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20 + dice() % 400));
        switch (dice() % 8) {
            case 0:
                // In a storm as it is, one of so many new workers never comes to its start.
                books_.counts().lull = static_cast<std::uint32_t>(dice() % 2);
                try {
                    pool_.refresh();
                    ++tally_.refreshed;
                } catch (const pf::worker_start_failed&) {
                    // One of the new ones was killed before it had started.
                }
                books_.counts().lull = 0;
                break;
            case 1:
                ++sweeps_;
                static_cast<void>(pool_.cancel_all());
                ++sweeps_;
                break;
            case 2:
                ++sweeps_;
                static_cast<void>(pool_.kill_all());
                ++sweeps_;
                break;
            case 3:
                pool_.pause();
                std::this_thread::sleep_for(std::chrono::milliseconds(dice() % 5));
                pool_.resume();
                break;
            case 4:
                static_cast<void>(pool_.describe());
                break;
            default:
                static_cast<void>(pool_.poll());
                break;
        }
    }
}

// ---- single tasks

promise callers::think_of(random& dice) {
    constexpr unsigned retries[] = {0, 0, 1, 3, many_retries};
    promise made;
    made.task.id = next_id_++;
    made.task.what = some_deed(dice);
    made.task.micros = some_micros(dice, made.task.what);
    made.retries = retries[dice() % 5];
    const bool each_time = made.retries < 4 && one_in(dice, 2);
    made.task.runs = each_time ? ~0u : 1;
    const bool needs_end = made.task.what == deed::hang || made.task.what == deed::stop;
    if (one_in(dice, 8) || (needs_end && one_in(dice, 2))) made.timeout = some_time(dice);
    made.submitted = clock::now();
    if (one_in(dice, 8) || (needs_end && made.timeout.count() == 0)) {
        made.deadline = made.submitted + some_time(dice);
    }
    made.sweeps = sweeps_;
    books_.open(made.task.id);
    return made;
}

callers::single callers::submit_one(random& dice) {
    single one{think_of(dice), one_in(dice, 6), {}, {}};
    constexpr pf::priority priorities[] = {pf::priority::normal, pf::priority::normal,
                                           pf::priority::high, pf::priority::low};
    pf::task_options how{.timeout = one.made.timeout, .retries = one.made.retries};
    how.priority = priorities[dice() % 4];
    if (one.made.deadline != clock::time_point::max()) how.deadline = one.made.deadline;
    if (one_in(dice, 4)) how.label = label_;
    const auto view = pool_.with(how);
    if (one.is_text) {
        one.text = view.submit(run_text, one.made.task, text_of(one.made.task.id));
    } else {
        one.number = view.submit(run, one.made.task);
    }
    return one;
}

void callers::submit_singles(random& dice, std::deque<single>& window) {
    const auto few = 1 + dice() % window_size;
    for (std::uint64_t i = 0; i < few; ++i) window.push_back(submit_one(dice));
    if (one_in(dice, 4)) {
        single& one = window[dice() % window.size()];
        const bool has_ended = one.is_text ? one.text.ready() : one.number.ready();
        if (!has_ended) {
            one.made.cancelled = true;
            static_cast<void>(one.is_text ? one.text.cancel() : one.number.cancel());
        }
    }
    while (window.size() > window_size) {
        finish_one(dice, window.front());
        window.pop_front();
    }
}

void callers::finish_one(random& dice, single& one) {
    if (one_in(dice, 200)) {
        ++tally_.abandoned;  // with its future, on return
        one.number = {};
        one.text = {};
        return;
    }
    if (one.is_text) {
        std::string right = text_of(one.made.task.id);
        std::reverse(right.begin(), right.end());
        gather(one.made, one.text, right);
    } else {
        gather(one.made, one.number, value_of(one.made.task.id));
    }
}

template <class T>
void callers::gather(promise& made, pf::future<T>& from, const T& right) {
    if (!from.wait_for(generous)) return note_loss(made);
    try {
        const bool is_right = from.get() == right;
        judge(made, is_right, nullptr);
    } catch (...) {
        judge(made, false, std::current_exception());
    }
}

// ---- many tasks

promise callers::harmless() {
    promise made;
    made.task = {next_id_++, deed::nothing, 0, 0};
    made.retries = many_retries;
    made.submitted = clock::now();
    made.sweeps = sweeps_;
    books_.open(made.task.id);
    return made;
}

std::vector<promise> callers::many(std::size_t count) {
    std::vector<promise> made;
    made.reserve(count);
    while (made.size() < count) made.push_back(harmless());
    return made;
}

// `check` says for each whether its value came, in its place.
template <class Check>
void callers::check_many(std::vector<promise>& made, Check check) {
    try {
        const std::vector<std::uint64_t> values = check();
        for (std::size_t i = 0; i < made.size(); ++i) {
            judge(made[i], i < values.size() && values[i] == value_of(made[i].task.id), nullptr);
        }
    } catch (const pf::wait_timeout&) {
        for (const promise& each : made) note_loss(each);
    } catch (...) {
        // One of them was cancelled, and nobody says which.
        judge(made.front(), false, std::current_exception());
        note_end(made.size() - 1);
    }
}

void callers::run_group(random& dice) {
    std::vector<promise> made = many(1 + dice() % 150);
    pf::task_group<std::uint64_t> group{pool_};
    for (const promise& each : made) group.run(run, each.task);
    check_many(made, [&] { return group.get_for(generous); });
}

void callers::run_stream(random& dice) {
    std::vector<promise> made = many(1 + dice() % 150);
    std::vector<submission> tasks;
    for (const promise& each : made) tasks.push_back(each.task);
    check_many(made, [&] {
        std::vector<std::uint64_t> values;
        for (const std::uint64_t each : pool_.stream(tasks, run)) values.push_back(each);
        return values;
    });
}

void callers::run_map(random& dice) {
    std::vector<promise> made = many(1 + dice() % 1000);
    std::vector<submission> tasks;
    for (const promise& each : made) tasks.push_back(each.task);
    check_many(made, [&] { return pool_.map(tasks, run); });
}

void callers::run_array(random& dice) {
    promise made = harmless();
    auto words = pool_.make_shared_array<std::uint64_t>(1 + dice() % 5000);
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = value_of(made.task.id + i);
    auto task = pool_.submit(storm::run_array, made.task, words);
    if (!task.wait_for(generous)) return note_loss(made);
    try {
        const pf::shared_array<std::uint64_t> got = task.get();
        bool is_right = got.size() == words.size();
        for (std::size_t i = 0; is_right && i < got.size(); ++i) is_right = got[i] == words[i] + 1;
        judge(made, is_right, nullptr);
    } catch (...) {
        judge(made, false, std::current_exception());
    }
}

// ---- what came of it

void callers::note_end(std::uint64_t tasks) noexcept {
    tally_.tasks += tasks;
    const std::int64_t now = std::chrono::nanoseconds(clock::now().time_since_epoch()).count();
    const std::int64_t stalled = now - tally_.last_end.exchange(now);
    std::int64_t worst = tally_.worst_stall;
    while (stalled > worst && !tally_.worst_stall.compare_exchange_weak(worst, stalled)) {
    }
}

void callers::judge(const promise& made, bool is_right, const std::exception_ptr& thrown) {
    note_end(1);
    try {
        if (thrown) std::rethrow_exception(thrown);
        ++tally_.values;
    } catch (const pf::worker_lost&) {
        ++tally_.lost_workers;
    } catch (const pf::task_timeout&) {
        ++tally_.late;
    } catch (const pf::task_expired&) {
        ++tally_.expired;
    } catch (const pf::cancelled&) {
        ++tally_.cancelled;
    } catch (...) {
        ++tally_.threw;
    }
    const std::string why = books_.fault_of(made, is_right, thrown, sweeps_);
    if (why.empty()) return;
    ++tally_.wrong;
    std::string said = why;
    try {
        if (thrown) std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
        said += std::string(": ") + e.what();
    } catch (...) {
    }
    complain("wrong", made, said);
}

void callers::note_loss(const promise& made) {
    ++tally_.lost;
    complain("lost", made, "no end within 30 s");
}

void callers::complain(const char* what, const promise& made, const std::string& why) {
    const std::lock_guard held{mutex_};
    if (++complained_ > most_complaints) return;
    complaints_ += std::string(what) + ": " + why + "\n" + books_.history(made);
}

std::string callers::complaints() {
    const std::lock_guard held{mutex_};
    return std::exchange(complaints_, {});
}

}  // namespace storm

#include "storm/books.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <new>
#include <stdexcept>

#include "base/system_call.hpp"
#include "prefork/error.hpp"

namespace storm {
namespace {

namespace pf = prefork;

std::int64_t now_ns() noexcept {
    return std::chrono::nanoseconds(clock::now().time_since_epoch()).count();
}

template <class T>
T* map_shared(std::size_t count) {
    void* const memory = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) pf::base::throw_system_error(errno, "mmap for the books");
    return static_cast<T*>(memory);
}

// A zombie runs no more.
bool is_running(pid_t pid) {
    const std::string stat = pf::base::read_small_file("/proc/" + std::to_string(pid) + "/stat");
    const auto name_end = stat.rfind(')');
    if (name_end == std::string::npos || name_end + 2 >= stat.size()) return false;
    return stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

bool kills_itself(deed what) noexcept {
    return what == deed::fault || what == deed::abort || what == deed::leave;
}
bool takes_memory(deed what) noexcept { return what == deed::hog || what == deed::brood; }

}  // namespace

// The finaliser of splitmix64.
std::uint64_t value_of(std::uint64_t id) noexcept {
    std::uint64_t x = id + 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

std::string text_of(std::uint64_t id) {
    std::uint64_t word = value_of(id);
    // Every third is long.
    std::string text(word % 3 == 0 ? word % 20'000 : word % 100, '\0');
    for (char& each : text) {
        word = word * 6364136223846793005u + 1442695040888963407u;
        each = static_cast<char>(word >> 56);
    }
    return text;
}

books::books() : counts_(map_shared<shared_counts>(1)), pages_(map_shared<page>(pages)) {}

std::uint32_t books::note_start(std::uint64_t id) noexcept {
    page& here = at(id);
    if (here.id.load() != id) return 1;
    const pid_t self = ::getpid();
    counts_->server.store(::getppid(), std::memory_order_relaxed);
    const pid_t before = here.inside.exchange(self);
    if (before != 0 && (before == self || is_running(before))) here.overlaps.fetch_add(1);
    if (here.closed.load() != 0) here.ghosts.fetch_add(1);
    const std::uint32_t number = here.starts.fetch_add(1) + 1;
    page::event& event = here.events[(number - 1) * 2 % page::kept_events];
    event.at.store(now_ns());
    event.pid.store(self);
    event.is_end.store(0);
    return number;
}

void books::note_end(std::uint64_t id) noexcept {
    page& here = at(id);
    if (here.id.load() != id) return;
    pid_t self = ::getpid();
    if (!here.inside.compare_exchange_strong(self, 0)) here.overlaps.fetch_add(1);
    page::event& event = here.events[((here.starts.load() - 1) * 2 + 1) % page::kept_events];
    event.at.store(now_ns());
    event.pid.store(::getpid());
    event.is_end.store(1);
    here.ends.fetch_add(1);
}

void books::open(std::uint64_t id) noexcept {
    page& here = at(id);
    here.id.store(0);
    for (auto* each : {&here.starts, &here.ends, &here.overlaps, &here.closed, &here.ghosts}) {
        each->store(0);
    }
    here.inside.store(0);
    for (page::event& each : here.events) each.at.store(0);
    here.id.store(id);
}

std::string books::fault_of(const promise& made, bool is_right, const std::exception_ptr& thrown,
                            std::uint64_t sweeps) {
    page& runs = at(made.task.id);
    if (runs.starts.load() > made.retries + 1) return "more runs than were allowed";
    if (runs.overlaps.load() != 0) return "two runs at once";
    if (thrown) {
        const bool swept = sweeps != made.sweeps || sweeps % 2 != 0;
        return fault_of_error(made, runs, thrown, swept);
    }
    runs.closed.store(1);
    if (!is_right) return "a wrong value";
    if (runs.ends.load() == 0) return "a value of no run";
    const bool did_it_each_time = made.task.runs > made.retries;
    const deed what = made.task.what;
    if (did_it_each_time && (kills_itself(what) || what == deed::kill || what == deed::throws ||
                             what == deed::hang || what == deed::hog || what == deed::brood)) {
        return "a value that it can't have computed";
    }
    return {};
}

std::string books::fault_of_error(const promise& made, const page& runs,
                                  const std::exception_ptr& thrown, bool swept) const {
    const deed what = made.task.what;
    const std::uint32_t starts = runs.starts.load();
    const clock::time_point now = clock::now();
    auto& closed = at(made.task.id).closed;
    try {
        std::rethrow_exception(thrown);
    } catch (const pf::worker_lost& e) {
        closed.store(1);
        if (e.attempts() != made.retries + 1) return "lost, with runs left";
        if (starts > e.attempts()) return "lost after more runs than it says";
        const bool for_memory = dynamic_cast<const pf::memory_exceeded*>(&e) != nullptr;
        if (for_memory != (e.killed_by() == pf::killer::memory_limit)) return "two reasons";
        switch (e.killed_by()) {
            case pf::killer::memory_limit:
                return takes_memory(what) ? "" : "killed for memory that it did not take";
            case pf::killer::none:
                return kills_itself(what) ? "" : "its own end, which it did not make";
            case pf::killer::timeout:  // its worker was stopped before it began
                return made.timeout.count() > 0 ? "" : "killed for a timeout that it did not have";
            case pf::killer::pool:
                return "killed by the pool, which nobody asked for";
            case pf::killer::stranger:
            case pf::killer::oom_killer:  // whose count names no process
                return "";
        }
        return "killed by nobody that there is";
    } catch (const pf::task_timeout&) {
        if (now >= made.deadline) return "";
        if (made.timeout.count() == 0) return "late, without a limit";
        // Not from its own note of its start: it may have been stopped just before that.
        return now - made.submitted >= made.timeout ? "" : "late, before its time was over";
    } catch (const pf::task_expired&) {
        closed.store(1);
        if (now < made.deadline) return "expired before its deadline";
        return starts == 0 ? "" : "never started, it is said, and it was";
    } catch (const pf::cancelled&) {
        return made.cancelled || swept ? "" : "cancelled by nobody";
    } catch (const pf::task_error& e) {
        closed.store(1);
        if (dynamic_cast<const std::bad_alloc*>(&e) != nullptr) {
            return takes_memory(what) ? "" : "out of memory that it did not take";
        }
        const bool own = what == deed::throws && dynamic_cast<const std::out_of_range*>(&e) &&
                         e.what() == std::to_string(made.task.id);
        return own ? "" : "an exception that it did not throw";
    } catch (...) {
    }
    return "an error that can't be";
}

std::string books::history(const promise& made) const {
    static constexpr const char* names[] = {"nothing", "spin", "nap",   "children", "litter",
                                            "throws",  "kill", "fault", "abort",    "leave",
                                            "hang",    "stop", "hog",   "brood"};
    const page& runs = at(made.task.id);
    const auto since = [&made](std::int64_t ns) {
        return static_cast<double>(
                   ns - std::chrono::nanoseconds(made.submitted.time_since_epoch()).count()) /
               1e6;
    };
    char line[256];
    std::snprintf(
        line, sizeof line,
        "  task %llu: %s in %u runs, %u us, retries %u, timeout %g ms, deadline %g ms%s\n",
        static_cast<unsigned long long>(made.task.id), names[static_cast<unsigned>(made.task.what)],
        made.task.runs, made.task.micros, made.retries,
        std::chrono::duration<double, std::milli>(made.timeout).count(),
        made.deadline == clock::time_point::max()
            ? 0.0
            : since(std::chrono::nanoseconds(made.deadline.time_since_epoch()).count()),
        made.cancelled ? ", cancelled" : "");
    std::string text = line;
    std::snprintf(line, sizeof line, "    starts %u, ends %u, overlaps %u, now at %.3f ms\n",
                  runs.starts.load(), runs.ends.load(), runs.overlaps.load(), since(now_ns()));
    text += line;
    for (const page::event& each : runs.events) {
        if (each.at.load() == 0) continue;
        std::snprintf(line, sizeof line, "    %10.3f ms  %s in process %d\n", since(each.at.load()),
                      each.is_end.load() != 0 ? "end" : "start", each.pid.load());
        text += line;
    }
    return text;
}

std::uint64_t books::late_faults() const noexcept {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < pages; ++i) count += pages_[i].ghosts.load() != 0;
    return count;
}

}  // namespace storm

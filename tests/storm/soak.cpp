// Random deaths, stops, hangs and floods under load, for as long as wanted, with books of its own:
// each task ends, once, with its value or with an error that can be true. Run by tools/soak.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/system_call.hpp"
#include "prefork/prefork.hpp"
#include "process/memory_use.hpp"
#include "storm/attacker.hpp"
#include "storm/books.hpp"
#include "storm/callers.hpp"
#include "storm/deeds.hpp"
#include "support/until.hpp"

namespace {

namespace pf = prefork;
using namespace std::chrono_literals;
using storm::clock;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
// What the host may hold more at the end than when it was warm: the allocator's fragments.
constexpr std::uint64_t most_growth = 64 * mebibyte;
// When nothing has ended for so long, nothing will.
constexpr std::chrono::seconds longest_stall{60};

struct options {
    double seconds = 60;
    std::uint64_t seed = std::random_device{}();
    unsigned workers = 16;
    std::uint64_t kills = 0;  ///< 0: as many as there are
};

[[noreturn]] void refuse(const std::string& why) {
    std::fprintf(stderr, "soak: %s\nusage: soak [SECONDS] [--seed N] [--workers N] [--kills N]\n",
                 why.c_str());
    std::exit(2);
}

options read(int count, char** words) {
    options how;
    const auto number = [&](int& i) -> std::uint64_t {
        if (++i == count) refuse(std::string(words[i - 1]) + " needs a number");
        char* end = nullptr;
        const std::uint64_t value = std::strtoull(words[i], &end, 10);
        if (end == words[i] || *end != '\0') refuse(std::string(words[i]) + " is no number");
        return value;
    };
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--seed") {
            how.seed = number(i);
        } else if (word == "--workers") {
            how.workers = static_cast<unsigned>(number(i));
        } else if (word == "--kills") {
            how.kills = number(i);
        } else {
            --i;
            how.seconds = static_cast<double>(number(i));
        }
    }
    return how;
}

std::size_t open_descriptors() {
    return static_cast<std::size_t>(
               std::distance(std::filesystem::directory_iterator{"/proc/self/fd"},
                             std::filesystem::directory_iterator{})) -
           1;  // the one that lists them
}

/// Processes that bear the pool's name and live: none when there is no pool.
std::string processes_left(const std::string& name) {
    std::string found;
    std::error_code error;
    for (std::filesystem::directory_iterator at{"/proc", error}, end; !error && at != end;
         at.increment(error)) {
        const std::string status = pf::base::read_small_file(at->path() / "status");
        if (!status.starts_with(std::string("Name:\t").append(name).append("/"))) continue;
        if (status.find("\nState:\tZ") != std::string::npos) continue;
        found += ' ';
        found += at->path().filename().string();
    }
    return found;
}

/// What a storm shows, each second and at its end.
class display {
  public:
    display(pf::pool& pool, storm::callers& threads, storm::shared_counts& counts)
        : pool_(pool), threads_(threads), counts_(counts) {}

    void show() {
        const storm::tally& now = threads_.counted();
        const pf::pool_stats stats = pool_.stats();
        kills_ = stats.lost_workers;
        std::printf(
            "%s%5.0f s  tasks %llu  kills %llu  re-runs %llu  lost %llu  wrong %llu  worst stall "
            "%lld ms  descriptors %zu  memory %llu MiB%s",
            is_terminal_ ? "\r\033[K" : "", seconds(), as_printed(now.tasks), as_printed(kills_),
            as_printed(stats.retried), as_printed(now.lost), as_printed(now.wrong),
            static_cast<long long>(now.worst_stall / 1'000'000), open_descriptors(),
            as_printed(pf::process::private_memory(::getpid()) / mebibyte),
            is_terminal_ ? "" : "\n");
        if (const std::string complaints = threads_.complaints(); !complaints.empty()) {
            std::printf("%s%s", is_terminal_ ? "\n" : "", complaints.c_str());
        }
        std::fflush(stdout);
    }

    [[nodiscard]] std::uint64_t kills() const { return kills_; }
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(clock::now() - began_).count();
    }

    /// `left` and `late`: what the end found.
    void sum_up(const options& how, std::uint64_t retried, std::uint64_t late,
                const std::string& leaks, std::size_t descriptors, std::uint64_t memory) {
        storm::tally& now = threads_.counted();
        if (is_terminal_) std::printf("\n");
        std::printf(
            "{\"seconds\": %.1f, \"seed\": %llu, \"workers\": %u, \"tasks\": %llu, \"values\": "
            "%llu, \"threw\": %llu, \"worker_lost\": %llu, \"late\": %llu, \"expired\": %llu, "
            "\"cancelled\": %llu, \"abandoned\": %llu, \"kills\": %llu, \"server_kills\": %llu, "
            "\"stops\": %llu, \"refreshes\": %llu, \"re_runs\": %llu, \"lost\": %llu, \"wrong\": "
            "%llu, \"worst_stall_ms\": %lld, \"descriptors\": %zu, \"memory_mib\": %llu, "
            "\"leaks\": \"%s\"}\n",
            seconds(), as_printed(how.seed), how.workers, as_printed(now.tasks),
            as_printed(now.values), as_printed(now.threw), as_printed(now.lost_workers),
            as_printed(now.late), as_printed(now.expired), as_printed(now.cancelled),
            as_printed(now.abandoned), as_printed(kills_), as_printed(counts_.server_kills),
            as_printed(counts_.stops), as_printed(now.refreshed), as_printed(retried),
            as_printed(now.lost), as_printed(now.wrong + late),
            static_cast<long long>(now.worst_stall / 1'000'000), descriptors,
            as_printed(memory / mebibyte), leaks.c_str());
        std::fflush(stdout);
    }

  private:
    static unsigned long long as_printed(std::uint64_t value) { return value; }

    pf::pool& pool_;
    storm::callers& threads_;
    storm::shared_counts& counts_;
    const bool is_terminal_ = ::isatty(1) != 0;
    const clock::time_point began_ = clock::now();
    std::uint64_t kills_ = 0;
};

bool stands_still(storm::tally& now) {
    const clock::time_point last{std::chrono::nanoseconds{now.last_end}};
    return clock::now() - last > longest_stall;
}

// Until the time is over or there were kills enough; false when nothing moves any more.
bool watch(const options& how, storm::callers& threads, display& board) {
    while (board.seconds() < how.seconds && (how.kills == 0 || board.kills() < how.kills)) {
        if (stands_still(threads.counted())) return false;
        std::this_thread::sleep_for(1s);
        board.show();
    }
    return true;
}

pf::pool_options pool_of(const options& how, const std::string& name) {
    pf::pool_options made{.workers = how.workers, .queue_limit = 4000, .retries = 1000};
    made.max_tasks_per_worker = 20'000;
    made.memory_budget = 256 * mebibyte;
    if (storm::has_memory_limit) made.worker_memory_limit = storm::worker_memory_limit;
    made.grace = 10ms;
    made.name = name;
    made.seed = how.seed;
    return made;
}

int weather(const options& how) {
    storm::books books;
    storm::set_books(books);
    storm::shared_counts& counts = books.counts();
    const std::string name =
        std::string("s") + std::to_string(::getpid());  // another storm has another
    const std::size_t descriptors_before = open_descriptors();
    const pid_t attacker = storm::fork_attacker(counts, name, how.seed);
    pf::set_log_handler([](const pf::log_record&) {});
    auto pool = std::make_unique<pf::pool>(pool_of(how, name));
    storm::callers threads{*pool, books, name};
    display board{*pool, threads, counts};
    threads.counted().last_end = std::chrono::nanoseconds(clock::now().time_since_epoch()).count();
    std::vector<std::thread> running;
    for (std::uint64_t i = 1; i <= 3; ++i) {
        running.emplace_back([&threads, seed = how.seed + i] { threads.submit_and_check(seed); });
    }
    running.emplace_back([&threads, seed = how.seed] { threads.disturb(seed); });
    std::uint64_t memory_when_warm = 0;
    options warm = how;
    warm.seconds = std::min(how.seconds, 5.0);
    bool moves = watch(warm, threads, board);
    memory_when_warm = pf::process::private_memory(::getpid());
    moves = moves && watch(how, threads, board);
    threads.end();
    counts.over = 1;
    if (!moves) {
        std::printf("\nsoak: nothing has ended for 60 s\n");
        board.sum_up(how, 0, 1, "", 0, 0);
        ::_exit(1);
    }
    for (std::thread& each : running) each.join();
    ::waitpid(attacker, nullptr, 0);
    board.show();
    const std::uint64_t memory = pf::process::private_memory(::getpid());
    const std::uint64_t retried = pool->stats().retried;
    std::string leaks;
    if (!pool->shutdown(30s)) leaks += " tasks or workers that did not end;";
    pool.reset();
    if (!pf::test::until([&] { return processes_left(name).empty(); })) {
        leaks += std::string(" processes") + processes_left(name) + ";";
    }
    const std::size_t descriptors = open_descriptors();
    if (descriptors != descriptors_before) {
        leaks += std::string(" descriptors: ") + std::to_string(descriptors_before) + " before, " +
                 std::to_string(descriptors) + " after;";
    }
    if (memory > memory_when_warm + most_growth) {
        leaks += std::string(" memory: ") + std::to_string(memory_when_warm / mebibyte) +
                 " MiB when warm, " + std::to_string(memory / mebibyte) + " at the end;";
    }
    const std::uint64_t late = books.late_faults();
    board.sum_up(how, retried, late, leaks, descriptors, memory);
    storm::tally& sum = threads.counted();
    return sum.lost == 0 && sum.wrong == 0 && late == 0 && leaks.empty() ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
    const options how = read(count, words);
    std::printf("storm with seed %llu, %u workers\n", static_cast<unsigned long long>(how.seed),
                how.workers);
    return weather(how);
}

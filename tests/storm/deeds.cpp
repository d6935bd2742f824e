#include "storm/deeds.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "prefork/log.hpp"
#include "prefork/worker.hpp"

namespace storm {
namespace {

books* kept_in = nullptr;

timespec as_timespec(std::uint32_t micros) {
    return {static_cast<time_t>(micros / 1'000'000), static_cast<long>(micros % 1'000'000) * 1000};
}

void spin_for(std::uint32_t micros) {
    const auto end = clock::now() + std::chrono::microseconds(micros);
    while (clock::now() < end) {
    }
}

// Anonymous pages that are written count as private, wherever malloc would have taken them from.
void take_memory(std::size_t bytes) {
    const std::vector<char> memory(bytes, 'x');
    static_cast<void>(*static_cast<const volatile char*>(memory.data()));
}

pid_t fork_child(std::size_t bytes, std::uint32_t micros) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // where the fork server is killed nobody else ends it
    if (bytes != 0) {
        void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        static_cast<void>(memory);
    }
    const timespec time = as_timespec(micros);
    ::nanosleep(&time, nullptr);
    ::_exit(0);
}

void die(int signal) {
    kept_in->counts().own_deaths.fetch_add(1, std::memory_order_relaxed);
    ::raise(signal);
}

void do_deed(const submission& task) {
    constexpr std::uint64_t much = 2 * worker_memory_limit;
    constexpr std::uint64_t little = worker_memory_limit * 3 / 5;
    const timespec time = as_timespec(task.micros);
    switch (task.what) {
        case deed::nothing:
            return;
        case deed::spin:
            return spin_for(task.micros);
        case deed::nap:
            ::nanosleep(&time, nullptr);
            return;
        case deed::children:
            if (const pid_t child = fork_child(0, task.micros); child > 0) {
                ::waitpid(child, nullptr, 0);
            }
            return;
        case deed::litter:
            fork_child(little, 300'000);
            return;
        case deed::throws:
            throw std::out_of_range(std::to_string(task.id));
        case deed::kill:
            return die(SIGKILL);
        case deed::fault:
            return die(SIGSEGV);
        case deed::abort:
            kept_in->counts().own_deaths.fetch_add(1, std::memory_order_relaxed);
            std::abort();
        case deed::leave:
            kept_in->counts().own_deaths.fetch_add(1, std::memory_order_relaxed);
            std::exit(static_cast<int>(task.id % 7));
        case deed::hang:
            while (!prefork::this_worker::stop_requested() || task.id % 2 == 0) ::usleep(500);
            return;
        case deed::stop:
            ::raise(SIGSTOP);
            return;
        case deed::hog:
            return take_memory(much);
        case deed::brood:  // each within what a process may have, and together beyond it
            fork_child(little, 60'000'000);
            fork_child(little, 60'000'000);
            for (;;) ::pause();
    }
}

void work(const submission& task) {
    const std::uint32_t run = kept_in->note_start(task.id);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (task.id % 64 == 0) prefork::log(prefork::level::info, "task {}, run {}", task.id, run);
    if (run <= task.runs) do_deed(task);
    kept_in->note_end(task.id);
}

}  // namespace

void set_books(books& to) noexcept { kept_in = &to; }

std::uint64_t run(const submission& task) {
    work(task);
    return value_of(task.id);
}

std::string run_text(const submission& task, const std::string& text) {
    const bool is_right = text == text_of(task.id);
    work(task);
    return is_right ? std::string(text.rbegin(), text.rend()) : "?";
}

prefork::shared_array<std::uint64_t> run_array(const submission& task,
                                               const prefork::shared_array<std::uint64_t>& words) {
    auto made = prefork::make_shared_array<std::uint64_t>(words.size());
    work(task);
    std::transform(words.begin(), words.end(), made.begin(),
                   [](std::uint64_t each) { return each + 1; });
    return made;
}

}  // namespace storm

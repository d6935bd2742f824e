// A process for each task, by hand: killed, waited for, and another forked that starts.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <optional>

#include "bench/support/other_process.hpp"
#include "bench/support/spin.hpp"
#include "workload.hpp"

namespace {

// Says that it has started, and is busy from then on.
prefork::bench::other_process start(std::atomic<bool>& started) {
    started.store(false, std::memory_order_relaxed);
    return prefork::bench::other_process{[&] {
        started.store(true, std::memory_order_release);
        prefork::bench::spin_until([] { return false; });
    }};
}
void wait_for(const std::atomic<bool>& started) {
    prefork::bench::spin_until([&] { return started.load(std::memory_order_acquire); });
}

}  // namespace

int main(int argc, char** argv) {
    using namespace prefork::versus;
    prefork::bench::shared<std::atomic<bool>> started;
    return measure(argc, argv, [&] {
        auto worker = start(*started);
        wait_for(*started);
        std::optional<prefork::bench::other_process> next;  // it ends after the clock has stopped
        return timed([&] {
            worker.end();
            next.emplace(start(*started));
            wait_for(*started);
        });
    });
}

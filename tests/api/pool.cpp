// The first part of the interface by example: a pool with every option, and what is asked of it.
#include <prefork/prefork.hpp>
#include <string>

#include "check.hpp"

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

bool is_open = false;
void open_connection() { is_open = true; }
void close_connection() { is_open = false; }
bool has_connection() { return is_open; }
int add(int a, int b) { return a + b; }
std::string config;
void load_config(const std::string& path) { config = "from " + path; }
std::string which_config() { return config; }

}  // namespace

int main() {
    pf::pool pool;  // one worker per usable CPU, forked here
    check(pool.submit(add, 40, 2).get() == 42, "a pool of defaults runs a task");

    pf::pool tuned{{.workers = 4,
                    .max_load_average = 1000,
                    .memory_budget = 1u << 30,
                    .queue_limit = 100'000,
                    .when_full = pf::overflow::wait,
                    .timeout = 2s,
                    .retries = 1,
                    .max_tasks_per_worker = 10'000,
                    .worker_memory_limit = 512u << 20,
                    .idle = pf::idle::adaptive,
                    .grace = 100ms,
                    .on_worker_start = [] { open_connection(); },
                    .worker_start_timeout = 10s,
                    .on_worker_exit = [] { close_connection(); },
                    .inner_threads = 0,
                    .keep_fds = {},
                    .name = "render"}};
    check(tuned.submit(has_connection).get(), "the start hook has run");
    check(tuned.describe().find("render") != std::string::npos, "describe() names the pool");
    check(tuned.healthy(), "it is healthy");

    const pf::pool_stats stats = tuned.stats();
    check(stats.submitted == 1 && stats.completed == 1 && stats.failed == 0, "tasks are counted");
    check(stats.inlined == 0 && stats.retried == 0 && stats.lost_workers == 0, "and what happened");
    check(stats.timeouts == 0 && stats.run_time.max >= stats.run_time.mean, "and times");
    check(stats.queue_time.min <= stats.queue_time.max && stats.rate >= 0, "and waits");
    check(stats.busy >= 0 && stats.workers.size() == 4, "and each worker");

    check(tuned.poll(), "nothing is outstanding");
    check(tuned.event_fd() >= 0, "there is a descriptor to watch");
    config = "old";
    tuned.refresh();
    check(tuned.submit(which_config).get() == "old", "new workers see this process as it is now");
    tuned.broadcast(load_config, "/etc/render");
    check(tuned.submit(which_config).get() == "from /etc/render", "every worker has run it");
    tuned.pause();
    auto waiting = tuned.submit(add, 1, 2);
    tuned.resume();
    check(waiting.get() == 3, "a paused pool takes tasks and runs them later");
    tuned.kill_all();
    tuned.cancel_all();
    tuned.drain();
    check(tuned.shutdown(5s), "it ends in time");
    check(pf::usable_cpus() >= 1 && pf::load_average() >= 0, "the machine is known");

    pf::pool sequential{{.workers = pf::inline_workers}};
    check(sequential.submit(add, 40, 2).get() == 42, "the same without processes");
}

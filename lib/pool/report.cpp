#include <algorithm>
#include <cstdio>
#include <string>

#include "pool/core.hpp"

namespace prefork::detail {
namespace {

double per_second(std::uint64_t count, std::chrono::nanoseconds life) {
    return life.count() > 0 ? static_cast<double>(count) * 1e9 / static_cast<double>(life.count())
                            : 0;
}

}  // namespace

pool_stats pool_core::stats() {
    if (process::current_role() == process::role::host) host_mark_.require(options_.name);
    lock held{mutex_};
    const double scale = scale_.ns_per_tick();
    const base::time_point now = base::monotonic::now();
    pool_stats all;
    stats::sums total = report_.gone();
    for (const process::worker_entry& each : roster_.all()) {
        if (each.phase != process::phase::running) continue;
        const stats::sums one = stats::sums::of(control_->journal_of(each.seat).counts);
        total += one;
        const std::chrono::nanoseconds life = now - each.since;
        all.workers.push_back(
            {each.index, each.pid, one.count - one.failures, one.failures,
             stats::durations(one.count, one.run_sum, one.run_min, one.run_max, scale),
             stats::durations(one.count, one.queue_sum, one.queue_min, one.queue_max, scale),
             per_second(one.count, life), stats::busy_fraction(one.run_sum, scale, life)});
    }
    std::sort(all.workers.begin(), all.workers.end(),
              [](const worker_stats& a, const worker_stats& b) { return a.index < b.index; });
    // What ran in the caller keeps no worker busy, unless the caller is all there is.
    const stats::sums by_workers = total;
    total += stats::sums::of(inline_runs_);
    all.submitted = tallies_.submitted;
    all.completed = total.count - total.failures;
    all.failed = tallies_.failed + total.failures;
    all.inlined = tallies_.inlined;
    all.retried = tallies_.retried;
    all.lost_workers = tallies_.lost_workers;
    all.timeouts = tallies_.timeouts;
    all.expired = tallies_.expired;
    all.run_time =
        stats::durations(total.count, total.run_sum, total.run_min, total.run_max, scale);
    all.queue_time =
        stats::durations(total.count, total.queue_sum, total.queue_min, total.queue_max, scale);
    for (const auto& [label, of] : label_tallies_) {
        all.labels[label] = {of.completed, of.failed,
                             stats::durations(of.times.count, of.times.run_sum, of.times.run_min,
                                              of.times.run_max, scale)};
    }
    const std::chrono::nanoseconds life = now - made_at_;
    const stats::sums& busy = inline_only_ ? total : by_workers;
    all.rate = per_second(busy.count, life);
    all.busy = stats::busy_fraction(busy.run_sum, scale, life * std::max(roster_.workers(), 1u));
    return all;
}

bool pool_core::healthy() {
    if (process::current_role() == process::role::host) host_mark_.require(options_.name);
    lock held{mutex_};
    if (inline_only_) return !closing_;
    return broken_.empty() && !closing_ && roster_.replaces_in_time(base::monotonic::now());
}

std::string pool_core::describe() {
    if (process::current_role() == process::role::host) host_mark_.require(options_.name);
    lock held{mutex_};
    std::string text = description_;
    if (damage_.found != 0) {
        text += "  " + std::to_string(damage_.found) +
                " words of shared memory were written over by workers gone wild; the last: " +
                damage_.last + "\n";
    }
    if (!broken_.empty()) text += broken_ + "\n";
    return text;
}

bool pool_core::gate_open(const double* max_load_average) {
    const std::optional<double> limit = max_load_average != nullptr
                                            ? std::optional<double>{*max_load_average}
                                            : options_.max_load_average;
    if (!limit) return true;
    if (max_load_average != nullptr || !gate_) return gate::is_open(*limit, usable_cpus_);
    return gate_->open();
}

}  // namespace prefork::detail

#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace prefork::bench {

/// What a mean hides. Shown as counters, in nanoseconds, at the end of the benchmark.
///
///     latencies each{state};
///     for (auto _ : state) each.time([&] { ... });
///
/// With less than 1,000 iterations p99.9 is the longest of them. Includes reading the clock once,
/// some 20–40 ns.
class latencies {
  public:
    explicit latencies(benchmark::State& state) : state_(state) {
        took_.reserve(static_cast<std::size_t>(state.max_iterations));
    }
    ~latencies() {
        if (took_.empty()) return;
        std::sort(took_.begin(), took_.end());
        show("p50", 500);
        show("p99", 990);
        show("p99.9", 999);
    }
    latencies(const latencies&) = delete;
    latencies& operator=(const latencies&) = delete;

    template <class Body>
    void time(Body body) {
        const auto start = std::chrono::steady_clock::now();
        body();
        add(std::chrono::steady_clock::now() - start);
    }
    /// For UseManualTime().
    void add(std::chrono::nanoseconds took) {
        took_.push_back(took.count());
        state_.SetIterationTime(std::chrono::duration<double>(took).count());
    }

  private:
    void show(const char* name, std::size_t per_mille) {
        const std::size_t place = std::min(took_.size() * per_mille / 1000, took_.size() - 1);
        state_.counters[std::string{name} + "_ns"] = static_cast<double>(took_[place]);
    }

    benchmark::State& state_;
    std::vector<std::chrono::nanoseconds::rep> took_;
};

}  // namespace prefork::bench

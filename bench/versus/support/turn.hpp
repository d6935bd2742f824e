#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

// A peer's turn: a program that measures one peer for a moment, prints its samples, and ends. So no
// peer's threads, heap or start disturb another. tools/bench gives every peer many turns, one after
// the other, so that what the machine does meanwhile falls on all of them.

namespace prefork::versus {

using clock_type = std::chrono::steady_clock;

/// Ends the program: this peer can't be measured here, and why.
[[noreturn]] inline void leave_out(const std::string& reason) {
    std::fprintf(stderr, "%s\n", reason.c_str());
    std::exit(77);
}

/// Ends the program: a figure of wrong answers is none.
[[noreturn]] inline void wrong_answer(const std::string& what) {
    std::fprintf(stderr, "wrong answer: %s\n", what.c_str());
    std::exit(1);
}

/// Nanoseconds that `body()` takes.
template <class Body>
[[nodiscard]] double timed(Body body) {
    const auto start = clock_type::now();
    body();
    return std::chrono::duration<double, std::nano>(clock_type::now() - start).count();
}

/// What tools/bench asks for, as name=value; all values are whole numbers.
class turn {
  public:
    turn(int argc, char** argv) {
        for (int i = 1; i < argc; ++i) {
            const std::string argument = argv[i];
            const auto sign = argument.find('=');
            if (sign == std::string::npos) fail(argument + ": not name=value");
            asked_[argument.substr(0, sign)] =
                std::strtoull(argument.c_str() + sign + 1, nullptr, 10);
        }
        milliseconds_ = get("milliseconds", 100);
        at_most_ = get("samples", 1000);
    }

    [[nodiscard]] std::uint64_t get(const std::string& name, std::uint64_t otherwise) {
        const auto found = asked_.find(name);
        if (found == asked_.end()) return otherwise;
        const std::uint64_t value = found->second;
        asked_.erase(found);
        return value;
    }

    /// Calls `sample()`, which returns nanoseconds, until the turn is over, at least once, and
    /// prints what it returned, a JSON object a line. Ends the program when something was asked for
    /// that nobody knows.
    template <class Sample>
    int run(Sample sample) {
        if (!asked_.empty()) fail(asked_.begin()->first + ": no such parameter");
        std::vector<double> samples;
        samples.reserve(at_most_);
        const auto end = clock_type::now() + std::chrono::milliseconds(milliseconds_);
        do {
            samples.push_back(sample());
        } while (samples.size() < at_most_ && clock_type::now() < end);
        for (const double each : samples) std::printf("{\"ns\": %.3f}\n", each);
        return 0;
    }

    /// As run(), a sample being the mean of a batch of `body()` that takes a millisecond or more,
    /// so that reading the clock does not show. Finding how many these are warms up, too.
    template <class Body>
    int run_batches(Body body) {
        int batch = 1;
        const auto once = [&] {
            return timed([&] {
                for (int i = 0; i < batch; ++i) body();
            });
        };
        while (once() < 1e6 && batch < 1'000'000) batch *= 2;
        return run([&] { return once() / batch; });
    }

  private:
    [[noreturn]] static void fail(const std::string& what) {
        std::fprintf(stderr, "%s\n", what.c_str());
        std::exit(2);
    }

    std::map<std::string, std::uint64_t> asked_;
    std::uint64_t milliseconds_;
    std::uint64_t at_most_;
};

}  // namespace prefork::versus

#include "stats/report.hpp"

#include <algorithm>

namespace prefork::stats {

duration_stats durations(std::uint64_t count, std::uint64_t sum, std::uint64_t min,
                         std::uint64_t max, double ns_per_tick) noexcept {
    if (count == 0) return {};
    const auto time = [&](double ticks) {
        // Capped: a worker gone wild may have written any number.
        return std::chrono::nanoseconds(
            static_cast<std::int64_t>(std::min(ticks * ns_per_tick, 9e18)));
    };
    return {time(static_cast<double>(min)),
            time(static_cast<double>(sum) / static_cast<double>(count)),
            time(static_cast<double>(max))};
}

double busy_fraction(std::uint64_t ticks, double ns_per_tick,
                     std::chrono::nanoseconds life) noexcept {
    if (life.count() <= 0) return 0;
    const double busy =
        static_cast<double>(ticks) * ns_per_tick / static_cast<double>(life.count());
    return std::clamp(busy, 0.0, 1.0);
}

}  // namespace prefork::stats

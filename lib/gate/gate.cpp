#include "gate/gate.hpp"

#include "gate/load_average.hpp"

namespace prefork::gate {

bool is_open(double max_load_per_cpu, unsigned usable_cpus) {
    const auto load = one_minute_load();
    return !load || *load <= max_load_per_cpu * usable_cpus;
}

void gate::sample(base::time_point now) {
    if (now < next_) return;
    next_ = now + std::chrono::seconds(1);
    open_.store(is_open(limit_, cpus_), std::memory_order_relaxed);
}

}  // namespace prefork::gate

#include "base/fail_point.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <new>

#include "base/futex.hpp"
#include "base/system_call.hpp"

namespace prefork::base {

struct fail_point::plan {
    char place[64];
    action what;
    std::uint32_t at_hit;
    std::uint32_t times;
    int error;
    std::atomic<std::uint32_t> hits;
    std::atomic<std::uint32_t> released;
};

fail_point::plan* fail_point::plan_ = nullptr;

void fail_point::arm(std::string_view place, action what, std::uint32_t at_hit, std::uint32_t times,
                     int error) {
    disarm();
    void* const memory =
        ::mmap(nullptr, sizeof(plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw_system_error(errno, "mmap for a fail point");
    auto* const made = new (memory) plan{};
    place.copy(made->place, sizeof made->place - 1);
    made->what = what;
    made->at_hit = at_hit;
    made->times = times;
    made->error = error;
    plan_ = made;
}

void fail_point::disarm() noexcept {
    if (plan_ == nullptr) return;
    release();
    // Left mapped: a thread of the host may be standing in it. A page a test, and only in tests.
    plan_ = nullptr;
}

void fail_point::release() noexcept {
    if (plan_ == nullptr) return;
    plan_->released.store(1, std::memory_order_release);
    futex_wake(&plan_->released, 1 << 20);
}

std::uint32_t fail_point::hits() noexcept {
    return plan_ == nullptr ? 0 : plan_->hits.load(std::memory_order_acquire);
}

int fail_point::act(std::string_view place) noexcept {
    plan& now = *plan_;
    if (place != now.place) return 0;
    const std::uint32_t hit = now.hits.fetch_add(1, std::memory_order_acq_rel) + 1;
    if (hit < now.at_hit || hit - now.at_hit >= now.times) return 0;
    switch (now.what) {
        case action::die:
            ::kill(::getpid(), SIGKILL);
            return 0;
        case action::hold:
            futex_wait(&now.released, 0, monotonic::now() + std::chrono::seconds(10));
            return 0;
        case action::fail:
            return now.error;
    }
    return 0;
}

}  // namespace prefork::base

#include "base/fail_point.hpp"

#ifdef PREFORK_FAIL_POINTS

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <new>
#include <stdexcept>
#include <string>

#include "base/futex.hpp"
#include "base/system_call.hpp"

namespace prefork::base {

struct fail_point::order {
    std::size_t place;
    action what;
    std::uint32_t at_hit;
    std::uint32_t times;
    int error;
    unsigned by;
    std::atomic<std::uint32_t> hits;
};

// In a page of its own that all processes share.
struct fail_point::plan {
    std::array<order, 4> orders;
    std::atomic<std::size_t> armed;
    std::atomic<std::uint32_t> released;
    std::atomic<pid_t> stopped;
    std::array<std::array<std::atomic<std::uint32_t>, 4>, fail_points::count> hits;
};

fail_point::plan* fail_point::plan_ = nullptr;

namespace {

// What this process is. A thread of the host may be the monitor, but no process that it forks is.
fail_points::visitor this_process = fail_points::host;
thread_local bool is_monitor = false;

fail_points::visitor visitor_here() noexcept {
    return is_monitor && this_process == fail_points::host ? fail_points::monitor : this_process;
}

// SIGSTOP for the calling thread, so that it doesn't run on until another one has taken the signal.
void stop_here() noexcept { ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), SIGSTOP); }

}  // namespace

fail_point::plan& fail_point::make_plan() {
    disarm();
    void* const memory =
        ::mmap(nullptr, sizeof(plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw_system_error(errno, "mmap for a fail point");
    plan_ = new (memory) plan{};
    return *plan_;
}

void fail_point::arm(std::string_view place, action what, std::uint32_t at_hit, std::uint32_t times,
                     int error, unsigned by) {
    make_plan();
    arm_also(place, what, at_hit, times, error, by);
}

void fail_point::arm_also(std::string_view place, action what, std::uint32_t at_hit,
                          std::uint32_t times, int error, unsigned by) {
    const std::size_t index = fail_points::index_of(place);
    if (index == fail_points::count) {
        throw std::invalid_argument("no fail point is called " + std::string(place));
    }
    plan& now = plan_ != nullptr ? *plan_ : make_plan();
    const std::size_t next = now.armed.load(std::memory_order_relaxed);
    order& made = now.orders.at(next);
    made.place = index;
    made.what = what;
    made.at_hit = at_hit;
    made.times = times;
    made.error = error;
    made.by = by;
    now.armed.store(next + 1, std::memory_order_release);
}

void fail_point::count() { make_plan(); }

void fail_point::disarm() noexcept {
    if (plan_ == nullptr) return;
    release();
    // Left mapped: a thread of the host may be standing in it. A page a test, and only in tests.
    plan_ = nullptr;
}

void fail_point::release() noexcept {
    if (plan_ == nullptr) return;
    plan_->released.store(1, std::memory_order_release);
    ::syscall(SYS_futex, &plan_->released, 1 /* FUTEX_WAKE */, 1 << 20, nullptr, nullptr, 0);
}

std::uint32_t fail_point::hits() noexcept {
    return plan_ == nullptr ? 0 : plan_->orders[0].hits.load(std::memory_order_acquire);
}

std::uint32_t fail_point::hits(std::size_t place, fail_points::visitor by) noexcept {
    return plan_ == nullptr
               ? 0
               : plan_
                     ->hits[place]
                           [static_cast<std::size_t>(std::countr_zero(static_cast<unsigned>(by)))]
                     .load(std::memory_order_acquire);
}

pid_t fail_point::stopped() noexcept {
    return plan_ == nullptr ? 0 : plan_->stopped.load(std::memory_order_acquire);
}

void fail_point::enter(fail_points::visitor as) noexcept {
    if (as == fail_points::monitor) {
        is_monitor = true;
    } else {
        this_process = as;
    }
}

int fail_point::act(std::size_t place) noexcept {
    plan& now = *plan_;
    const auto here = static_cast<unsigned>(visitor_here());
    now.hits[place][static_cast<std::size_t>(std::countr_zero(here))].fetch_add(
        1, std::memory_order_acq_rel);
    const std::size_t armed = now.armed.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < armed; ++i) {
        order& each = now.orders[i];
        if (each.place != place || (each.by & here) == 0) continue;
        const std::uint32_t hit = each.hits.fetch_add(1, std::memory_order_acq_rel) + 1;
        if (hit < each.at_hit || hit - each.at_hit >= each.times) continue;
        const int kept_errno = errno;
        switch (each.what) {
            case action::die:
                ::kill(::getpid(), SIGKILL);
                return 0;
            case action::stop:
                now.stopped.store(::getpid(), std::memory_order_release);
                stop_here();
                break;
            case action::hold:
                // Not by way of futex_wait(), which is a place itself.
                for (const auto end = monotonic::now() + std::chrono::seconds(10);
                     now.released.load(std::memory_order_acquire) == 0 && monotonic::now() < end;) {
                    const timespec look{0, 10'000'000};
                    ::syscall(SYS_futex, &now.released, 0 /* FUTEX_WAIT */, 0, &look, nullptr, 0);
                }
                break;
            case action::fail:
                return each.error;
        }
        errno = kept_errno;
    }
    return 0;
}

}  // namespace prefork::base

#endif

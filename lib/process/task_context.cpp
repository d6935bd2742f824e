#include "process/task_context.hpp"

#include "prefork/detail/callable.hpp"
#include "prefork/worker.hpp"

namespace prefork::process {
namespace {

// As current_exchange (pool/shared_block.cpp).
[[gnu::tls_model("initial-exec")]] thread_local task_context* current_context = nullptr;

// splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): every bit
// of the input changes half of the output's.
std::uint64_t mixed(std::uint64_t x) noexcept {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

}  // namespace

std::uint64_t task_context::seed() const noexcept {
    return mixed(mixed(pool_seed_) ^ (*number_ + item_));
}

task_context* task_context::current() noexcept { return current_context; }

task_context::scope::scope(task_context& here) noexcept
    : outer_(std::exchange(current_context, &here)) {}
task_context::scope::~scope() { current_context = outer_; }

}  // namespace prefork::process

namespace prefork {

std::uint64_t this_task::seed() noexcept {
    const auto* const here = process::task_context::current();
    return here != nullptr ? here->seed() : 0;
}

std::uint64_t& detail::task_item() noexcept {
    thread_local std::uint64_t nowhere = 0;
    auto* const here = process::task_context::current();
    return here != nullptr ? here->item() : nowhere;
}

}  // namespace prefork

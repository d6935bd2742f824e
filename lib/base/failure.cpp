#include <mutex>
#include <stdexcept>
#include <system_error>

#include "prefork/expected.hpp"

namespace prefork {
namespace {

struct named_kind {
    failure_kind kind;
    bool (*is)(const std::exception& thrown);
};

template <class Error>
bool is(const std::exception& thrown) {
    return dynamic_cast<const Error*>(&thrown) != nullptr;
}

// Derived classes before their bases. What a task threw is a task_error first, even if it is an
// std::invalid_argument as well.
constexpr named_kind kinds[] = {
    {failure_kind::task_error, is<task_error>},
    {failure_kind::memory_exceeded, is<memory_exceeded>},
    {failure_kind::worker_lost, is<worker_lost>},
    {failure_kind::task_timeout, is<task_timeout>},
    {failure_kind::task_expired, is<task_expired>},
    {failure_kind::cancelled, is<cancelled>},
    {failure_kind::queue_full, is<queue_full>},
    {failure_kind::payload_too_large, is<payload_too_large>},
    {failure_kind::decode_error, is<decode_error>},
    {failure_kind::unknown_function, is<unknown_function>},
    {failure_kind::worker_start_failed, is<worker_start_failed>},
    {failure_kind::pool_closed, is<pool_closed>},
    {failure_kind::pool_broken, is<pool_broken>},
    {failure_kind::wrong_process, is<wrong_process>},
    {failure_kind::invalid_argument, is<std::invalid_argument>},
    {failure_kind::system, is<std::system_error>},
};

failure_kind kind_of(const std::exception& thrown) {
    for (const named_kind& each : kinds) {
        if (each.is(thrown)) return each.kind;
    }
    return failure_kind::other;
}

}  // namespace

// Found out when somebody asks: a stack trace costs milliseconds.
struct failure::state {
    std::exception_ptr thrown;
    failure_kind kind = failure_kind::other;
    const std::exception* object = nullptr;  ///< in `thrown`
    std::string type_name;
    std::once_flag what_once;
    std::string what = "an exception of a class that is not derived from std::exception";
    std::once_flag details_once;
    loss details;
};

failure::failure(std::exception_ptr thrown) : state_(std::make_shared<state>()) {
    state_->thrown = std::move(thrown);
    try {
        std::rethrow_exception(state_->thrown);
    } catch (const std::exception& e) {
        state_->object = &e;
        state_->kind = kind_of(e);
        if (const auto* const task = dynamic_cast<const task_error*>(&e)) {
            state_->type_name = task->type_name();
        }
    } catch (...) {
        return;
    }
}

failure_kind failure::kind() const noexcept { return state_->kind; }
const std::string& failure::type_name() const noexcept { return state_->type_name; }
const std::exception_ptr& failure::exception() const noexcept { return state_->thrown; }

const std::string& failure::what() const noexcept {
    std::call_once(state_->what_once, [this] {
        if (state_->object != nullptr) state_->what = state_->object->what();
    });
    return state_->what;
}

const loss& failure::details() const {
    std::call_once(state_->details_once, [this] {
        const auto* const lost = dynamic_cast<const task_lost*>(state_->object);
        if (lost != nullptr) state_->details = lost->details();
    });
    return state_->details;
}

expected<void> failure::save(const std::string& path) const {
    auto saving = [&] {
        const auto* const lost = dynamic_cast<const task_lost*>(state_->object);
        if (lost == nullptr) throw std::invalid_argument(what() + ": there is no task to save");
        lost->save(path);
    };
    if (std::exception_ptr thrown = detail::guarded(saving)) return failure{std::move(thrown)};
    return {};
}

std::exception_ptr detail::guarded(void (*call)(void*), void* argument) noexcept {
    try {
        call(argument);
        return nullptr;
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace prefork

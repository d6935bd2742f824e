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

failure::failure(std::exception_ptr thrown) {
    state made;
    made.thrown = std::move(thrown);
    try {
        std::rethrow_exception(made.thrown);
    } catch (const std::exception& e) {
        made.kind = kind_of(e);
        made.what = e.what();
        if (const auto* const task = dynamic_cast<const task_error*>(&e)) {
            made.type_name = task->type_name();
        }
        if (const auto* const lost = dynamic_cast<const worker_lost*>(&e)) {
            made.details = {lost->signal(),    lost->exit_status(), lost->attempts(),
                            lost->killed_by(), lost->stack_trace(), lost->log_tail(),
                            lost->label()};
        }
    } catch (...) {
        made.what = "an exception of a class that is not derived from std::exception";
    }
    state_ = std::make_shared<const state>(std::move(made));
}

const std::string& failure::stack_trace() const {
    if (kind() != failure_kind::task_timeout) return state_->details.stack_trace;
    try {
        std::rethrow_exception(state_->thrown);
    } catch (const task_timeout& e) {
        return e.stack_trace();  // kept alive by `thrown`
    }
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

#include "prefork/error.hpp"

#include <mutex>
#include <utility>

namespace prefork {

// Out of line, so that each class has its type information in one place: the library.
error::~error() = default;
task_error::~task_error() = default;
worker_lost::~worker_lost() = default;
memory_exceeded::~memory_exceeded() = default;
task_timeout::~task_timeout() = default;
task_expired::~task_expired() = default;
worker_start_failed::~worker_start_failed() = default;
cancelled::~cancelled() = default;
wait_timeout::~wait_timeout() = default;
queue_full::~queue_full() = default;
payload_too_large::~payload_too_large() = default;
decode_error::~decode_error() = default;
group_collected::~group_collected() = default;
unknown_function::~unknown_function() = default;
pool_closed::~pool_closed() = default;
pool_broken::~pool_broken() = default;
wrong_process::~wrong_process() = default;

task_error::task_error(std::string type_name, const std::string& what)
    : error(what), type_name_(std::make_shared<const std::string>(std::move(type_name))) {}

worker_lost::worker_lost(const std::string& what, loss details)
    : error(what), details_(std::make_shared<const loss>(std::move(details))) {}

struct task_timeout::trace {
    std::function<std::string()> make;
    std::once_flag once;
    std::string text;
};

task_timeout::task_timeout(const std::string& what, std::function<std::string()> stack_trace)
    : error(what), trace_(std::make_shared<trace>()) {
    trace_->make = std::move(stack_trace);
}

const std::string& task_timeout::stack_trace() const {
    std::call_once(trace_->once, [this] {
        if (trace_->make) trace_->text = trace_->make();
    });
    return trace_->text;
}

}  // namespace prefork

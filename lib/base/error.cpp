#include "prefork/error.hpp"

#include <utility>

namespace prefork {

// Out of line, so that each class has its type information in one place: the library.
error::~error() = default;
task_error::~task_error() = default;
detail::evidence::~evidence() = default;
task_lost::~task_lost() = default;
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

task_lost::task_lost(const std::string& what, std::shared_ptr<const detail::evidence> of)
    : error(what), evidence_(std::move(of)) {}

const loss& task_lost::known() const noexcept {
    static const loss nothing;
    return evidence_ ? evidence_->known() : nothing;
}

const char* task_lost::what() const noexcept {
    const char* const found = evidence_ ? evidence_->what() : nullptr;
    return found != nullptr ? found : error::what();
}

const std::string& task_lost::stack_trace() const {
    return evidence_ ? evidence_->stack_trace() : known().stack_trace;
}

loss task_lost::details() const {
    loss all = known();
    all.stack_trace = stack_trace();
    return all;
}

void task_lost::save(const std::string& path) const {
    if (!evidence_) throw error(std::string(what()) + ": there is no task to save");
    evidence_->save(path);
}

}  // namespace prefork

#include <cstring>
#include <new>
#include <string>

#include "codec/exception_codec.hpp"
#include "pool/core.hpp"
#include "pool/shared_block.hpp"
#include "prefork/error.hpp"
#include "process/task_context.hpp"

// The same task here: the gate is shut, the caller is itself a task, or there is no room. The same
// bytes go through the same invoker, so results and errors are the same too.

namespace prefork::detail {
namespace {

struct free_bytes {
    void operator()(std::byte* bytes) const noexcept {
        ::operator delete[](bytes, std::align_val_t{payload_alignment});
    }
};
using aligned_bytes = std::unique_ptr<std::byte[], free_bytes>;

aligned_bytes make_bytes(std::size_t size) {
    return aligned_bytes{new (std::align_val_t{payload_alignment}) std::byte[size]};
}

class private_sink final : public result_sink {
  public:
    std::byte* allocate(std::size_t size) override {
        size_ = size;
        bytes_ = make_bytes(size);
        return bytes_.get();
    }
    aligned_bytes bytes_;
    std::size_t size_ = 0;
};

}  // namespace

std::exception_ptr expired(const std::shared_ptr<const std::string>& label) {
    return std::make_exception_ptr(
        task_expired("the task" + labelled(label) + " was not started before its deadline"));
}

std::uint64_t pool_core::take_numbers(std::uint64_t count) {
    return std::exchange(next_number_, next_number_ + count);
}

ticket pool_core::run_inline(const call& what, const call_options& how) {
    auto* const outer = process::task_context::current();
    std::uint64_t number = 0;
    {
        lock held{mutex_};
        check_open();
        number = outer != nullptr ? outer->next_inner_number() : take_numbers(how.items);
    }
    outcome result;
    if (base::monotonic::now() >= how.deadline) {
        result.failure_ = expired(how.label);
        return keep_outcome(std::move(result));
    }
    private_sink sink;
    process::task_context context{outer != nullptr ? outer->seed() : options_.seed, number};
    const process::task_context::scope in_task{context};
    try {
        const aligned_bytes payload = make_bytes(what.size);
        // Arrays that the arguments and the result name live on in `kept_` until the result is
        // decoded.
        const exchange here{this, &result.kept_};
        what.write(what.encoder, payload.get());
        what.function({payload.get(), what.size}, sink);
        result.size_ = sink.size_;
        if (sink.size_ > 0) result.block_ = sink.bytes_.release();
    } catch (...) {
        // By way of bytes as from a worker, so that the caller sees the same exception.
        const std::string thrown = encode_current_exception(64 * 1024);
        result.failure_ = decode_exception(std::as_bytes(std::span{thrown}));
    }
    return keep_outcome(std::move(result));
}

ticket pool_core::keep_outcome(outcome&& result) {
    lock held{mutex_};
    ++tallies_.submitted;
    ++tallies_.inlined;
    ++(result.failure_ ? tallies_.failed : tallies_.completed);
    const ticket made{next_inline_++};
    harvested_.emplace(made.position, std::move(result));
    return made;
}

}  // namespace prefork::detail

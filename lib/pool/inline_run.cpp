#include <cxxabi.h>

#include <cstring>
#include <new>
#include <string>

#include "codec/exception_codec.hpp"
#include "codec/label_prefix.hpp"
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

// As in a worker: thrown through the invoker, never leaves run_inline().
struct no_room {
    std::size_t size;
};

class private_sink final : public result_sink {
  public:
    explicit private_sink(std::uint64_t most) : most_(most) {}
    std::byte* allocate(std::size_t size) override {
        if (most_ != 0 && size > most_) throw no_room{size};
        size_ = size;
        bytes_ = make_bytes(size);
        return bytes_.get();
    }
    aligned_bytes bytes_;
    std::size_t size_ = 0;

  private:
    std::uint64_t most_;
};

}  // namespace

std::exception_ptr expired(const std::shared_ptr<const std::string>& label) {
    return std::make_exception_ptr(
        task_expired("the task" + labelled(label) + " was not started before its deadline"));
}

void pool_core::require_budget_for(std::size_t argument_bytes) const {
    if (fits_budget(argument_bytes)) return;
    throw payload_too_large("arguments of " + std::to_string(argument_bytes) +
                            " bytes exceed the memory budget of " +
                            std::to_string(inline_budget()) + " bytes");
}

ticket pool_core::run_inline(const call& what, const call_options& how) {
    require_budget_for(what.size);
    auto* const outer = process::task_context::current();
    const bool late = base::monotonic::now() >= how.deadline;
    std::uint64_t number = 0;
    {
        const lock held{mutex_};
        number = outer != nullptr ? outer->next_inner_number() : take_numbers(how.items);
        tallies_.expired += late;
    }
    outcome result;
    if (late) {
        result.failure_ = expired(how.label);
        return keep_outcome(std::move(result), 0, 0);
    }
    const std::uint64_t began = base::ticks();
    process::task_context context{outer != nullptr ? outer->seed() : options_.seed, number};
    std::size_t too_large = 0;
    const auto write = [&](std::byte* to) { what.write(what.encoder, to); };
    call_here(what.function, what.size, write, context, result, too_large);
    const std::uint64_t ran = base::ticks_since(began);
    if (how.label) {
        const lock held{mutex_};
        note_label(*how.label, result.failure() != nullptr || too_large != 0, ran);
    }
    return keep_outcome(std::move(result), ran, too_large);
}

template <class Write>
void pool_core::call_here(invoker function, std::size_t size, Write write,
                          process::task_context& context, outcome& result, std::size_t& too_large) {
    private_sink sink{inline_budget()};
    try {
        const process::task_context::scope in_task{context};
        const aligned_bytes payload = make_bytes(size);
        // Arrays that the arguments and the result name live on in `kept_` until the result is
        // decoded.
        const exchange here{this, &result.kept_};
        write(payload.get());
        function({payload.get(), size}, sink);
        result.size_ = sink.size_;
        if (sink.size_ > 0) result.block_ = sink.bytes_.release();
    } catch (const no_room& none) {
        too_large = none.size;
    } catch (const abi::__forced_unwind&) {
        throw;  // the caller's thread is being cancelled, or ends by pthread_exit()
    } catch (...) {
        // By way of bytes as from a worker, so that the caller sees the same exception.
        const std::string thrown = encode_current_exception(64 * 1024);
        result.failure_ = decode_exception(std::as_bytes(std::span{thrown}));
    }
}

void pool_core::call_here(invoker function, std::span<const std::byte> payload,
                          process::task_context& context, outcome& result, std::size_t& too_large) {
    const auto write = [payload](std::byte* to) {
        if (!payload.empty()) std::memcpy(to, payload.data(), payload.size());
    };
    call_here(function, payload.size(), write, context, result, too_large);
}

// A task that waits in the ring is taken out of it, and its result is kept as one that was
// harvested.
void pool_core::help(ticket task) {
    lock held{mutex_};
    task_record* const record = find(task);
    // Arrays in its arguments are known to workers by where they lie; here they have an owner.
    if (record == nullptr || !record->attachments.empty()) return;
    ring::slot_word word = ring_->word(task.position);
    if (word.state() != ring::state::ready ||
        !ring_->change(task.position, word, word.with(ring::state::cancelled))) {
        return;
    }
    const inside here{*this};
    record->runs_here = true;
    const auto function = reinterpret_cast<invoker>(record->function);
    const std::byte* from =
        record->arguments ? record->arguments.data : ring_->at(task.position).payload.data();
    const std::size_t prefix = record->label ? label_prefix{*record->label}.size() : 0;
    const std::size_t size = record->size - prefix;
    process::task_context context{options_.seed, record->number};
    outcome result;
    std::size_t too_large = 0;
    held.unlock();
    const std::uint64_t began = base::ticks();
    call_here(function, {from + prefix, size}, context, result, too_large);
    const std::uint64_t ran = base::ticks_since(began);
    held.lock();
    record->runs_here = false;
    if (too_large != 0) result.failure_ = no_room_for(task.position, too_large);
    ++tallies_.inlined;
    inline_runs_.note(0, ran, result.failure_ != nullptr);
    if (record->label) note_label(*record->label, result.failure_ != nullptr, ran);
    harvested_.add(task.position, std::move(result));
    free_record(*record, ring_->word(task.position));
}

std::exception_ptr pool_core::no_room_for(std::uint64_t task, std::size_t bytes) const {
    return std::make_exception_ptr(payload_too_large(
        "result of task " + std::to_string(task) + ": no room for " + std::to_string(bytes) +
        " bytes in the memory budget of " + std::to_string(inline_budget()) + " bytes"));
}

ticket pool_core::keep_outcome(outcome&& result, std::uint64_t ran, std::size_t too_large) {
    lock held{mutex_};
    const ticket made{next_inline_++};
    if (too_large != 0) result.failure_ = no_room_for(made.position - first_inline, too_large);
    ++tallies_.submitted;
    ++tallies_.inlined;
    inline_runs_.note(0, ran, result.failure_ != nullptr);
    harvested_.add(made.position, std::move(result));
    return made;
}

}  // namespace prefork::detail

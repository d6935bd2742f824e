#include "pool/evidence.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "codec/label_prefix.hpp"
#include "pool/core.hpp"
#include "pool/shared_block.hpp"
#include "pool/task_file.hpp"
#include "process/symbols.hpp"

namespace prefork::detail {

task_evidence::task_evidence(loss known, lost_call what, kept_bytes counter, std::uint64_t counted)
    : evidence(std::move(known)),
      call_(std::move(what)),
      counter_(std::move(counter)),
      counted_(counted) {
    counter_->fetch_add(counted_, std::memory_order_relaxed);
}

task_evidence::~task_evidence() { counter_->fetch_sub(counted_, std::memory_order_relaxed); }

void task_evidence::tell(std::string before, std::string after,
                         std::optional<process::crash> left) {
    before_ = std::move(before);
    after_ = std::move(after);
    left_ = std::move(left);
}

const char* task_evidence::what() const noexcept {
    if (trace_) return nullptr;
    try {
        std::call_once(what_once_, [this] {
            what_ = before_ + (left_ ? process::describe_place(*left_) : std::string{}) + after_;
        });
        return what_.c_str();
    } catch (...) {
        return nullptr;  // no memory: the error's own text says all but the function
    }
}

const std::string& task_evidence::stack_trace() const {
    std::call_once(stack_once_, [this] {
        if (left_) stack_ = process::symbolise(*left_);
        if (trace_) stack_ = trace_->text();
    });
    return stack_;
}

// The record keeps what its worker may still read, as long as it may.
std::shared_ptr<task_evidence> pool_core::gather_evidence(task_record& record, loss known) {
    lost_call call;
    call.function = record.function;
    call.code = record.code;
    const std::uint64_t addresses[] = {record.function, record.code};
    call.objects = process::objects_with(addresses);
    call.pool_seed = options_.seed;
    call.number = record.number;
    call.timeout = record.timeout;
    if (record.label) call.begin = label_prefix{*record.label}.size();
    call.size = static_cast<std::size_t>(record.size) - call.begin;
    for (const shared_ref& each : record.attachments) {
        const bool again =
            std::any_of(call.arrays.begin(), call.arrays.end(),
                        [&](const shared_ref& other) { return other.data() == each.data(); });
        if (!again) call.arrays.push_back(each);
    }
    std::uint64_t counted = record.arguments.size;
    for (const shared_ref& each : call.arrays) counted += each.bytes();
    if (counted > 0 &&
        kept_by_errors_->load(std::memory_order_relaxed) + counted > budget_->limit() / 8) {
        call.kept = false;
        call.arrays.clear();
        counted = 0;
    } else if (record.arguments) {
        // Whatever throws does it before the block has another owner.
        record.attachments.reserve(record.attachments.size() + 1);
        call.block = own_argument(*this, record.arguments, static_cast<std::size_t>(record.size));
        blocks_out_.fetch_add(1, std::memory_order_relaxed);
        argument_bytes_ -= record.arguments.size;
        record.arguments = {};
        record.attachments.push_back(call.block);
    } else {
        call.arguments.assign(record.kept.begin(),
                              record.kept.begin() + static_cast<std::ptrdiff_t>(record.size));
    }
    return std::make_shared<task_evidence>(std::move(known), std::move(call), kept_by_errors_,
                                           counted);
}

namespace {

code_place place_of(const lost_call& call, std::uint64_t address) {
    for (const process::loaded_object& each : call.objects) {
        if (!each.holds(address)) continue;
        if (each.build_id.empty()) {
            throw error("the task can't be saved: " + each.name +
                        " has no build id (link it with -Wl,--build-id)");
        }
        return {each.name, each.build_id, address - each.bias};
    }
    throw error("the task can't be saved: its function is in no program or library");
}

// Every place in the arguments that holds an address, which is another one when they are read
// again.
void find_places(const lost_call& call, saved_task& into) {
    const auto words = [&](auto&& visit) {
        for (std::size_t at = 0; at + sizeof(std::uint64_t) <= call.size;
             at += sizeof(std::uint64_t)) {
            std::uint64_t word = 0;
            std::memcpy(&word, call.data() + at, sizeof word);
            if (visit(at, word)) return;
        }
    };
    if (call.code != 0) {
        words([&](std::size_t at, std::uint64_t word) {
            if (word != call.code) return false;
            into.code_at = at;
            return true;
        });
        if (!into.code_at) throw error("the task can't be saved: its callable wasn't found");
    }
    for (const shared_ref& array : call.arrays) {
        const auto address = reinterpret_cast<std::uint64_t>(array.data());
        const std::size_t before = into.array_places.size();
        words([&](std::size_t at, std::uint64_t word) {
            std::uint64_t bytes = 0;
            if (word != address || at + 2 * sizeof word > call.size) return false;
            std::memcpy(&bytes, call.data() + at + sizeof word, sizeof bytes);
            if (bytes == array.bytes()) into.array_places.push_back({at, into.arrays.size()});
            return false;
        });
        if (into.array_places.size() == before) {
            throw error("the task can't be saved: an array wasn't found in its arguments");
        }
        into.arrays.emplace_back(array.data(), array.bytes());
    }
}

}  // namespace

void task_evidence::save(const std::string& path) const {
    if (!call_.kept) {
        throw payload_too_large("the task can't be saved: its arguments of " +
                                std::to_string(call_.size) +
                                " bytes, and the arrays that they name, were not kept, because "
                                "errors of one pool keep an eighth of its memory budget");
    }
    saved_task task;
    const process::loaded_object program = process::this_program();
    task.program = program.name;
    task.program_build = program.build_id;
    task.function = place_of(call_, call_.function);
    if (call_.code != 0) task.code = place_of(call_, call_.code);
    task.name = process::function_at(call_.code != 0 ? call_.code : call_.function);
    task.label = known().label;
    task.seed = call_.pool_seed;
    task.number = call_.number;
    task.attempt = known().attempts;
    task.timeout = call_.timeout;
    const char* const told = what();
    task.what = told != nullptr ? told : before_;
    task.stack_trace = stack_trace();
    task.arguments = {call_.data(), call_.size};
    find_places(call_, task);
    write_task_file(path, task);
}

}  // namespace prefork::detail

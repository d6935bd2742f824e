#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "pool/task_record.hpp"
#include "prefork/detail/shared_block.hpp"
#include "prefork/error.hpp"
#include "process/crash_report.hpp"
#include "process/pending_trace.hpp"

namespace prefork::detail {

/// A call that its worker did not survive: what is needed to make it again, taken out of the books
/// with the pool's lock held, so nothing here opens a file.
struct lost_call {
    std::uint64_t function = 0;
    std::uint64_t code = 0;  ///< the user's function, where the callable is a pointer to one
    std::vector<process::loaded_object> objects;  ///< that these two lie in
    std::uint64_t pool_seed = 0;
    std::uint64_t number = 0;
    std::chrono::nanoseconds timeout{0};
    std::vector<std::byte> arguments;  ///< those that lay in the slot
    shared_ref block;                  ///< the others, where they lie
    std::size_t begin = 0;             ///< of the arguments, behind the label
    std::size_t size = 0;
    std::vector<shared_ref> arrays;  ///< that the arguments name
    /// Too much to keep, of `size` bytes and arrays: then there are no arguments.
    bool kept = true;

    [[nodiscard]] const std::byte* data() const noexcept {
        return (block.data() != nullptr ? block.data() : arguments.data()) + begin;
    }
};

/// Counts what the errors of a pool keep of its memory. Shared with them, because they may outlive
/// it.
using kept_bytes = std::shared_ptr<std::atomic<std::uint64_t>>;

/// Why a task was lost. Made with the pool's lock held; symbols are read when somebody asks.
class task_evidence final : public evidence {
  public:
    /// `counter` counts `counted` bytes until this is gone.
    task_evidence(loss known, lost_call what, kept_bytes counter, std::uint64_t counted);
    ~task_evidence() override;

    /// Of a worker's death: what() is "`before` in parse(int) `after`".
    void tell(std::string before, std::string after, std::optional<process::crash> left);
    /// Of a timeout, which has this text: the error's own.
    void await(std::string text, std::shared_ptr<process::pending_trace> trace) {
        before_ = std::move(text);
        trace_ = std::move(trace);
    }

    [[nodiscard]] const char* what() const noexcept override;
    [[nodiscard]] const std::string& stack_trace() const override;
    void save(const std::string& path) const override;

  private:
    lost_call call_;
    kept_bytes counter_;
    std::uint64_t counted_;
    std::string before_;
    std::string after_;
    std::optional<process::crash> left_;
    std::shared_ptr<process::pending_trace> trace_;
    mutable std::once_flag what_once_;
    mutable std::string what_;
    mutable std::once_flag stack_once_;
    mutable std::string stack_;
};

}  // namespace prefork::detail

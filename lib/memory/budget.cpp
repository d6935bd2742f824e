#include "memory/budget.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <optional>
#include <sstream>

#include "base/cgroup.hpp"
#include "base/system_call.hpp"

namespace prefork::memory {

bool budget::take(std::size_t writer, std::uint64_t bytes) noexcept {
    const std::uint64_t before = own_[writer];
    if (bytes > limit_ || before > limit_ - bytes) return false;
    publish(writer, before + bytes);
    if (taken() <= limit_) return true;
    publish(writer, before);
    return false;
}

int budget::take_pages(std::size_t writer, std::uint64_t bytes) noexcept {
    if (!take(writer, bytes)) return EDQUOT;
    if (room_.has(bytes, taken(), base::monotonic::now())) return 0;
    give_back(writer, bytes);
    return ENOMEM;
}

void budget::give_back(std::size_t writer, std::uint64_t bytes) noexcept {
    publish(writer, own_[writer] - std::min(own_[writer], bytes));
}

std::optional<std::uint64_t> budget::mend(std::size_t writer) noexcept {
    const std::uint64_t seen = sums_[writer].load(std::memory_order_relaxed);
    if (seen == own_[writer]) return std::nullopt;
    tell(writer);
    return seen;
}

std::uint64_t budget::taken() const noexcept {
    std::uint64_t sum = 0;
    for (const word& each : sums_) {
        const std::uint64_t bytes = each.load(std::memory_order_seq_cst);
        if (bytes > limit_) continue;
        if (bytes > std::numeric_limits<std::uint64_t>::max() - sum) return ~std::uint64_t{0};
        sum += bytes;
    }
    return sum;
}

namespace {

std::optional<std::uint64_t> leading_number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end == text.data()) return std::nullopt;
    return value;
}

std::uint64_t available_memory(const std::string& root) {
    std::istringstream lines{base::read_small_file(root + "/proc/meminfo")};
    for (std::string line; std::getline(lines, line);) {
        if (line.rfind("MemAvailable:", 0) != 0) continue;
        const auto digit = line.find_first_of("0123456789");
        if (digit == std::string::npos) break;
        if (const auto kib = leading_number(std::string_view{line}.substr(digit)))
            return *kib * 1024;
    }
    return std::uint64_t{1} << 30;  // a gigabyte where the kernel doesn't tell
}

}  // namespace

std::uint64_t default_budget(const std::string& root) {
    std::uint64_t bytes = available_memory(root);
    // Files that are missing, empty or say "max" limit nothing.
    for (const auto& [path, version] : base::cgroup_directories(root, "memory")) {
        const bool v2 = version == base::cgroup_version::v2;
        const auto limit = leading_number(
            base::read_small_file(path + (v2 ? "/memory.max" : "/memory.limit_in_bytes")));
        if (limit) bytes = std::min(bytes, *limit);
    }
    return std::max(bytes / 2, std::uint64_t{1} << 20);
}

}  // namespace prefork::memory

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>

#include "prefork/detail/pool_core.hpp"

namespace prefork::detail {

/// Results that wait for their caller outside of the ring, by position: what was taken out of it to
/// make room, and what ran inline. Guarded by the pool's mutex.
///
/// Their memory comes in chunks, which stay: of a group of 100,000 tasks 92,000 are kept, and
/// malloc(), slow at an outcome's alignment, was a fifth of the time that the host spent on it.
class kept_results {
  public:
    /// \throws std::bad_alloc
    kept_results() : store_(std::make_unique<store>()) {}

    /// A new, empty one. \throws std::bad_alloc
    [[nodiscard]] outcome& place_for(std::uint64_t position) { return store_->all[position]; }
    /// \throws std::bad_alloc, and then `result` is lost
    void add(std::uint64_t position, outcome&& result) {
        store_->all.emplace(position, std::move(result));
    }
    [[nodiscard]] std::optional<outcome> take(std::uint64_t position) noexcept {
        const auto found = store_->all.find(position);
        if (found == store_->all.end()) return std::nullopt;
        std::optional<outcome> taken{std::move(found->second)};
        store_->all.erase(found);
        return taken;
    }
    void erase(std::uint64_t position) noexcept { store_->all.erase(position); }

    /// Nothing, in the memory of many.
    [[nodiscard]] bool should_trim() const noexcept {
        constexpr std::size_t many = 1000;
        return empty() && store_->all.bucket_count() > many;
    }
    /// Gives that memory back.
    void trim() noexcept {
        if (!should_trim()) return;
        try {
            store_ = std::make_unique<store>();
        } catch (const std::bad_alloc&) {
            // The old one does.
        }
    }

    [[nodiscard]] bool empty() const noexcept { return store_->all.empty(); }
    [[nodiscard]] auto begin() noexcept { return store_->all.begin(); }
    [[nodiscard]] auto end() noexcept { return store_->all.end(); }

  private:
    struct store {
        std::pmr::unsynchronized_pool_resource memory;
        std::pmr::unordered_map<std::uint64_t, outcome> all{&memory};
    };

    std::unique_ptr<store> store_;
};

}  // namespace prefork::detail

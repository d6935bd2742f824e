#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "prefork/gate.hpp"

namespace prefork {

struct range_options {
    unsigned workers = 0;      ///< intervals wanted; 0: usable_cpus()
    std::size_t min_size = 0;  ///< of an interval, but for the last
};

/// [first, last)
struct interval {
    std::size_t first;
    std::size_t last;
    friend bool operator==(const interval&, const interval&) = default;
};

/// `count` items cut into intervals of max(ceil(count / workers), min_size), the last one shorter.
/// No allocation; every interval is computed when asked for.
class ranges {
  public:
    explicit ranges(std::size_t count, const range_options& options = {}) : count_(count) {
        const std::size_t workers = options.workers != 0 ? options.workers : usable_cpus();
        const std::size_t even = count / workers + (count % workers != 0);
        size_ = std::max<std::size_t>({even, options.min_size, 1});
    }

    class iterator {
      public:
        using value_type = interval;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::forward_iterator_tag;

        iterator() = default;
        interval operator*() const { return {first_, first_ + std::min(size_, count_ - first_)}; }
        iterator& operator++() {
            first_ += std::min(size_, count_ - first_);
            return *this;
        }
        iterator operator++(int) {
            const iterator before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(const iterator& a, const iterator& b) {
            return a.first_ == b.first_;
        }

      private:
        friend class ranges;
        iterator(std::size_t first, std::size_t count, std::size_t size)
            : first_(first), count_(count), size_(size) {}
        std::size_t first_ = 0;
        std::size_t count_ = 0;
        std::size_t size_ = 1;
    };

    [[nodiscard]] iterator begin() const { return {0, count_, size_}; }
    [[nodiscard]] iterator end() const { return {count_, count_, size_}; }
    [[nodiscard]] std::size_t size() const { return count_ / size_ + (count_ % size_ != 0); }

  private:
    std::size_t count_;
    std::size_t size_;
};

}  // namespace prefork

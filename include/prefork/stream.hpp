#pragma once

#include <cstddef>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include "prefork/pool.hpp"
#include "prefork/when.hpp"

// Throwing all through, so nothing of it is declared without exceptions.
#ifdef __cpp_exceptions

namespace prefork {

/// The results of a function over a range, of which only a few are under way at a time: what
/// pool::stream() returns. An input range: go through it once. Inputs are taken, and tasks
/// submitted, as results are asked for.
///
/// An error is thrown where its result would have come, by begin() or ++; the next ++ goes on with
/// the following one. Destroying the stream abandons what is under way. One thread at a time; an
/// input that was given as an lvalue has to live as long as the stream, and so has the pool.
template <class Codec, class Range, class Fn>
class result_stream {
    using item = std::ranges::range_reference_t<Range>;
    using result = std::remove_cv_t<detail::result_of<Fn, item>>;
    static_assert(!std::is_void_v<result>,
                  "prefork: there is nothing to stream from a task that returns nothing: use map");

  public:
    class iterator {
      public:
        using value_type = result;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;
        using pointer = result*;
        using reference = result&;

        iterator() = default;
        result& operator*() const { return *stream_->current_; }
        result* operator->() const { return &*stream_->current_; }
        iterator& operator++() {
            stream_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& at, std::default_sentinel_t) { return at.is_done(); }

      private:
        friend class result_stream;
        explicit iterator(result_stream& of) : stream_(&of) {}
        [[nodiscard]] bool is_done() const noexcept { return stream_->is_done(); }
        result_stream* stream_ = nullptr;
    };

    result_stream(basic_view<Codec> tasks, Range&& inputs, Fn fn, std::size_t most,
                  prefork::order order)
        : tasks_(std::move(tasks)), fn_(std::move(fn)), most_(most), order_(order) {
        if constexpr (std::is_lvalue_reference_v<Range>) {
            inputs_ = std::addressof(inputs);
        } else {
            owned_ = std::make_unique<held>(std::move(inputs));
            inputs_ = owned_.get();
        }
        next_.emplace(std::ranges::begin(*inputs_));
    }
    result_stream(result_stream&&) = default;

    iterator begin() {
        if (!current_) advance();
        return iterator{*this};
    }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  private:
    using held = std::remove_reference_t<Range>;

    [[nodiscard]] bool is_done() const noexcept { return !current_ && under_way_.empty(); }

    void advance() {
        current_.reset();
        fill();
        if (under_way_.empty()) return;
        auto first = under_way_.begin();
        if (order_ == order::completion) {
            first += static_cast<std::ptrdiff_t>(when_any(under_way_));
        }
        future<result> task = std::move(*first);
        under_way_.erase(first);
        current_.emplace(task.get());
    }

    void fill() {
        for (; under_way_.size() < most_ && *next_ != std::ranges::end(*inputs_); ++*next_) {
            under_way_.push_back(tasks_.submit(fn_, **next_));
        }
    }

    basic_view<Codec> tasks_;
    Fn fn_;
    std::size_t most_;
    prefork::order order_;
    std::unique_ptr<held> owned_;
    held* inputs_ = nullptr;
    std::optional<std::ranges::iterator_t<Range>> next_;
    std::deque<future<result>> under_way_;
    std::optional<result> current_;
};

template <class Codec>
template <std::ranges::input_range Range, class Fn>
auto basic_view<Codec>::stream(Range&& inputs, Fn fn, const stream_options& options) const {
    basic_view tasks = *this;
    tasks.options_.here = !detail::gate_open(*core_, nullptr);
    const std::size_t workers = detail::workers_of(*core_);
    std::size_t most = options.max_in_flight != 0 ? options.max_in_flight : 2 * workers + 2;
    // What runs in the caller runs when it is submitted: no sooner than it is wanted.
    if (tasks.options_.here || workers == 0) most = 1;
    return result_stream<Codec, Range, Fn>{tasks, std::forward<Range>(inputs), std::move(fn), most,
                                           options.order};
}

}  // namespace prefork

#endif

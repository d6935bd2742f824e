#pragma once

#include <algorithm>
#include <exception>
#include <iterator>
#include <ranges>
#include <utility>
#include <vector>

#include "prefork/pool.hpp"

// basic_view's longer members: included by pool.hpp, not by users.

namespace prefork {

namespace detail {

/// std::vector<bool> has no elements to copy.
template <class T>
using stored_item = std::conditional_t<std::is_same_v<T, bool>, unsigned char, T>;

template <class Fn, class Item>
struct map_chunk {
    using result = std::remove_cv_t<result_of<Fn, Item>>;
    using stored = stored_item<result>;

    Fn fn;

    // By reference, or gcc 12 at -O3 takes the vector's memory for none of the heap's and warns.
    auto operator()(std::vector<stored_item<Item>>&& items) {
        std::uint64_t& number = task_item();  // each item has a seed of its own
        if constexpr (std::is_void_v<result>) {
            for (auto& each : items) {
                call_task(fn, take(each));
                ++number;
            }
        } else {
            std::vector<stored> results;
            results.reserve(items.size());
            for (auto& each : items) {
                results.push_back(call_task(fn, take(each)));
                ++number;
            }
            return results;
        }
    }

  private:
    static decltype(auto) take(stored_item<Item>& each) {
        if constexpr (std::is_same_v<Item, bool>) {
            return each != 0;
        } else {
            return std::move(each);
        }
    }
};

template <class Fn, class Item>
struct code<map_chunk<Fn, Item>> {
    [[nodiscard]] static const void* of(const map_chunk<Fn, Item>& chunk) noexcept {
        return code_of(chunk.fn);
    }
};

/// Eight chunks a worker: few enough that small items are worth sending, enough that one slow chunk
/// doesn't leave the other workers idle for long.
[[nodiscard]] inline std::size_t chunk_size(std::size_t items, unsigned workers) {
    return std::max<std::size_t>(1, items / (std::size_t{8} * std::max(workers, 1u)));
}

}  // namespace detail

template <class Codec>
basic_view<Codec> basic_view<Codec>::with(const task_options& options) const {
    detail::call_options changed = options_;
    if (options.timeout) changed.timeout = *options.timeout;
    if (options.deadline) changed.deadline = *options.deadline;
    if (options.retries) changed.retries = *options.retries;
    changed.priority = options.priority;
    if (options.label) changed.label = std::make_shared<const std::string>(*options.label);
    detail::check_options(changed);
    return {*core_, changed};
}

#ifdef __cpp_exceptions
template <class Codec>
template <std::ranges::input_range Range, class Fn>
auto basic_view<Codec>::map(Range&& inputs, Fn fn, const map_options& how) const {
    using item = std::ranges::range_value_t<Range>;
    using stored = detail::stored_item<item>;
    using chunk = detail::map_chunk<Fn, item>;
    using result = typename chunk::result;
    basic_view here = *this;
    here.options_.here = !detail::gate_open(*core_, nullptr);

    std::size_t size = 64;  // where the number of items isn't known
    if constexpr (std::ranges::sized_range<Range> || std::ranges::forward_range<Range>) {
        size = detail::chunk_size(static_cast<std::size_t>(std::ranges::distance(inputs)),
                                  detail::workers_of(*core_) + (how.caller_helps ? 1 : 0));
    }
    std::vector<decltype(here.submit(chunk{fn}, std::declval<std::vector<stored>>()))> parts;
    std::vector<std::conditional_t<std::is_void_v<result>, char, result>> results;
    // Each part is fetched as it comes, so that its memory can hold the next; an error waits until
    // all have ended.
    std::exception_ptr failure;
    std::size_t fetched = 0;
    const auto fetch = [&] {
        auto& part = parts[fetched++];
        if (failure) return part.wait();
        try {
            if constexpr (std::is_void_v<result>) {
                part.get();
            } else {
                auto some = part.get();
                results.insert(results.end(), std::make_move_iterator(some.begin()),
                               std::make_move_iterator(some.end()));
            }
        } catch (...) {
            failure = std::current_exception();
        }
    };
    std::vector<stored> items;
    const auto send = [&] {
        here.options_.items = items.size();
        parts.push_back(here.submit(chunk{fn}, std::exchange(items, {})));
        while (!failure && fetched < parts.size() && parts[fetched].ready()) fetch();
    };
    for (auto&& each : inputs) {
        items.push_back(std::forward<decltype(each)>(each));
        if (items.size() == size) send();
    }
    if (!items.empty()) send();
    if (how.caller_helps) {
        // From the end: the workers come from the front.
        for (std::size_t i = parts.size(); i > fetched; --i) {
            detail::help(*core_, detail::future_access::task_of(parts[i - 1]).task);
        }
    }
    while (fetched < parts.size()) fetch();
    if (failure) std::rethrow_exception(failure);
    if constexpr (!std::is_void_v<result>) return results;
}
#endif

inline basic_view<codec::automatic_t> pool::view() { return {core(), detail::options_of(core())}; }

}  // namespace prefork

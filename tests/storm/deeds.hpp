#pragma once

#include <cstdint>
#include <string>

#include "prefork/shared_array.hpp"
#include "storm/books.hpp"

// The storm's tasks. Each notes its start, does its deed, notes its end, and gives the value of its
// id.

namespace storm {

/// Before the pool is made: where tasks note what they do.
void set_books(books& to) noexcept;

// The address sanitizer ends a process that is out of memory, and holds what was freed.
#if defined(__SANITIZE_ADDRESS__)
#define PREFORK_STORM_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PREFORK_STORM_ASAN
#endif
#endif
#ifdef PREFORK_STORM_ASAN
inline constexpr bool has_memory_limit = false;
#else
inline constexpr bool has_memory_limit = true;
#endif
inline constexpr std::uint64_t worker_memory_limit = std::uint64_t{40} << 20;

std::uint64_t run(const submission& task);
/// text_of(id) arrives, and the same goes back, reversed; "?" when something else arrived.
std::string run_text(const submission& task, const std::string& text);
prefork::shared_array<std::uint64_t> run_array(const submission& task,
                                               const prefork::shared_array<std::uint64_t>& words);

}  // namespace storm

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

// A task in a file, to be run again by the same build of the program (replay.hpp).
//
//   "prefork task"   12 bytes
//   version          u32: 1
//   program          text, its build id: text
//   function         place of the invoker
//   has code, code   u64: 0 or 1; and if 1 a place
//   name, label      text each
//   seed, number     u64 each
//   attempt          u64
//   timeout          u64, nanoseconds
//   what, stack      text each
//   code at          u64: where in the arguments the code's address lies; all ones: nowhere
//   arguments        text
//   places           u64 count; each u64 where in the arguments, u64 which array
//   arrays           u64 count; each u64 bytes
//   the arrays' bytes, one after another, and the end of the file
//
// u32 and u64 are little-endian; a text is its length (u64) and its bytes; a place is the name of
// the program or library (text), its build id (text) and an offset (u64).

namespace prefork::detail {

/// Code, wherever it is mapped.
struct code_place {
    std::string object;
    std::string build_id;
    std::uint64_t offset = 0;

    bool operator==(const code_place&) const = default;
};

/// What the views refer to is somebody else's: the error's, or the bytes that were read.
struct saved_task {
    struct array_place {
        std::uint64_t at = 0;  ///< of its address and size in the arguments
        std::uint64_t array = 0;
        bool operator==(const array_place&) const = default;
    };

    std::string program;
    std::string program_build;
    code_place function;
    std::optional<code_place> code;
    std::string name;  ///< of the function, for people
    std::string label;
    std::uint64_t seed = 0;
    std::uint64_t number = 0;
    std::uint64_t attempt = 1;
    std::chrono::nanoseconds timeout{0};
    std::string what;
    std::string stack_trace;
    std::optional<std::uint64_t> code_at;
    std::span<const std::byte> arguments;
    std::vector<array_place> array_places;
    std::vector<std::span<const std::byte>> arrays;
};

/// Under another name first, so that `path` never is half a file; mode 0600.
/// \throws std::system_error
void write_task_file(const std::string& path, const saved_task& task);

/// Believes nothing: every length and place is checked. \throws decode_error
[[nodiscard]] saved_task read_task(std::span<const std::byte> file);

}  // namespace prefork::detail

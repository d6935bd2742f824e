#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The program and the libraries as they are mapped in this process: what makes an address out of
// a place in a file, and the other way round.

namespace prefork::process {

struct loaded_object {
    std::string path;         ///< to open it by: the program's works for one that was replaced too
    std::string name;         ///< to show
    std::string build_id;     ///< its bytes; empty when it was linked without
    std::uint64_t bias = 0;   ///< an address here minus the one in the file
    std::uint64_t begin = 0;  ///< of its code
    std::uint64_t end = 0;

    [[nodiscard]] bool holds(std::uint64_t address) const noexcept {
        return address >= begin && address < end;
    }
};

/// Those that any of `addresses` lies in the code of. Cost: microseconds; opens no file. Waits
/// while another thread's dlopen() links what it has loaded.
[[nodiscard]] std::vector<loaded_object> objects_with(std::span<const std::uint64_t> addresses);
[[nodiscard]] std::optional<loaded_object> object_at(std::uint64_t address);
[[nodiscard]] std::optional<loaded_object> object_of_build(std::string_view build_id);
/// The program itself.
[[nodiscard]] loaded_object this_program();

/// A build id as people read it.
[[nodiscard]] std::string hex_of(std::string_view bytes);

}  // namespace prefork::process

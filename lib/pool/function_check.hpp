#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace prefork::detail {

/// Which code the workers have: the executable segments that were loaded when they were forked.
///
/// An address found once is remembered, so that a submission costs a compare. A library that was
/// unloaded and another loaded in its place since then is not noticed.
class function_check {
  public:
    /// Notes the segments of now. \throws std::bad_alloc
    function_check();

    [[nodiscard]] bool knows(std::uintptr_t code) noexcept {
        const std::uintptr_t remembered = found_[place_of(code)];
        return (code != 0 && remembered == code) || look_up(code);
    }

  private:
    struct segment {
        std::uintptr_t first;
        std::uintptr_t last;
    };
    [[nodiscard]] std::size_t place_of(std::uintptr_t code) const noexcept {
        return (code >> 4) % found_.size();
    }
    [[nodiscard]] bool look_up(std::uintptr_t code) noexcept;

    std::vector<segment> segments_;
    std::array<std::uintptr_t, 64> found_{};
};

}  // namespace prefork::detail

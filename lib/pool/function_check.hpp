#pragma once

#include <array>
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

    [[nodiscard]] bool knows(std::uintptr_t code) noexcept;

  private:
    struct segment {
        std::uintptr_t first;
        std::uintptr_t last;
    };
    std::vector<segment> segments_;
    std::array<std::uintptr_t, 64> found_{};
};

}  // namespace prefork::detail

#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace prefork::base {

/// Named places where a test can make a process die, stand still, or be refused by the kernel.
///
/// Unarmed, which is always outside our own tests, a place costs one load of a word that nobody
/// writes. Armed before a pool is made, the plan is inherited by every process; the count of hits
/// is shared by all of them, so "the third commit of any worker" can be said.
class fail_point {
  public:
    enum class action : std::uint32_t {
        die,   ///< SIGKILL to the process that arrives
        hold,  ///< stand still until release() or for ten seconds
        fail,  ///< hit() returns `error`, which the caller treats as errno of its call
    };

    /// One plan at a time; arming replaces it. `at_hit` counts from 1; `times` hits from there on
    /// act.
    static void arm(std::string_view place, action what, std::uint32_t at_hit = 1,
                    std::uint32_t times = 1, int error = 0);
    static void disarm() noexcept;
    static void release() noexcept;
    /// How often the armed place was reached so far, by every process.
    [[nodiscard]] static std::uint32_t hits() noexcept;

    /// Called by the library at a place. 0: go on; otherwise the errno to fail with.
    [[nodiscard]] static int hit(std::string_view place) noexcept {
        return plan_ == nullptr ? 0 : act(place);
    }
    static void pass(std::string_view place) noexcept {
        if (plan_ != nullptr) act(place);
    }

  private:
    struct plan;
    static int act(std::string_view place) noexcept;
    static plan* plan_;
};

}  // namespace prefork::base

#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <prefork_fail_points.hpp>  // by lib/meson.build
#include <string_view>

namespace prefork::base {

/// The places, and what can happen at each: fail_points.def.
namespace fail_points {

/// Who comes to a place: one of our processes, or the host's own thread of ours.
enum visitor : unsigned { host = 1, monitor = 2, server = 4, worker = 8, anyone = 15 };
/// An "errno" of a call that moves bytes: it moves one, and says so.
inline constexpr int one_byte = -1;

struct place {
    std::string_view name;
    unsigned visitors;          ///< of `visitor`
    std::array<int, 7> errors;  ///< ended by a 0
};

inline constexpr place all[] = {
#define PLACE(name, visitors, ...) {name, visitors, {__VA_ARGS__}},
#include "base/fail_points.def"
#undef PLACE
};
inline constexpr std::size_t count = std::size(all);
static_assert([] {
    for (const place& each : all) {
        if (each.errors.back() != 0) return false;
    }
    return true;
}());

constexpr std::size_t index_of(std::string_view name) noexcept {
    std::size_t at = 0;
    while (at < count && all[at].name != name) ++at;
    return at;
}

void this_place_is_not_in_fail_points_def();  // has no body: calling it ends the compilation

}  // namespace fail_points

/// A place's number. A name that fail_points.def doesn't have is an error of the compiler's.
class fail_place {
  public:
    // NOLINTNEXTLINE(google-explicit-constructor): so that places are written as text
    consteval fail_place(const char* name) : index_(fail_points::index_of(name)) {
        if (index_ == fail_points::count) fail_points::this_place_is_not_in_fail_points_def();
    }
    [[nodiscard]] constexpr std::size_t index() const noexcept { return index_; }

  private:
    std::size_t index_;
};

/// Named places where a test can make a process die, stop, stand still, or be refused by the
/// kernel.
///
/// Only with Meson's option fail_points, for our own tests; without it, nothing of all this is in
/// the library. With it, a place that nobody armed costs one load of a word that nobody writes.
/// What is armed before a pool is made is inherited by every process; the count of hits is shared
/// by all of them, so "the third commit of any worker" can be said.
class fail_point {
  public:
    enum class action : std::uint32_t {
        die,   ///< SIGKILL to the process that arrives
        stop,  ///< SIGSTOP to it; stopped() says to whom
        hold,  ///< stand still until release() or for ten seconds
        fail,  ///< refused() says so, and errno is `error`
    };

#ifdef PREFORK_FAIL_POINTS
    /// What was armed before is forgotten, counts too. `at_hit` counts from 1; `times` hits from
    /// there on act. Only those of `by` are counted for it.
    /// \throws std::invalid_argument  there is no such place
    static void arm(std::string_view place, action what, std::uint32_t at_hit = 1,
                    std::uint32_t times = 1, int error = 0, unsigned by = fail_points::anyone);
    /// Beside what is armed, the same for one place more: at most four.
    static void arm_also(std::string_view place, action what, std::uint32_t at_hit = 1,
                         std::uint32_t times = 1, int error = 0, unsigned by = fail_points::anyone);
    /// Nothing happens anywhere, but hits are counted.
    static void count();
    static void disarm() noexcept;
    static void release() noexcept;
    /// How often the place that was armed first was reached so far, by all that it counts.
    [[nodiscard]] static std::uint32_t hits() noexcept;
    /// How often `by` came to a place since the last arm() or count().
    [[nodiscard]] static std::uint32_t hits(std::size_t place, fail_points::visitor by) noexcept;
    /// The process that was stopped last; 0 if none was.
    [[nodiscard]] static pid_t stopped() noexcept;

    /// Called by the library. What this process is from now on; or, with `monitor`, this thread.
    static void enter(fail_points::visitor as) noexcept;
    static void pass(fail_place place) noexcept {
        if (plan_ != nullptr) static_cast<void>(act(place.index()));
    }
    /// True when the call is not to be made, and errno says why.
    [[nodiscard]] static bool refused(fail_place place) noexcept {
        if (plan_ == nullptr) return false;
        const int error = act(place.index());
        if (error > 0) errno = error;
        return error > 0;
    }
    /// As refused(), for a call that moves bytes: `size` becomes 1 where it is to move one.
    [[nodiscard]] static bool refused(fail_place place, std::size_t& size) noexcept {
        if (plan_ == nullptr) return false;
        const int error = act(place.index());
        if (error > 0) errno = error;
        if (error == fail_points::one_byte && size > 1) size = 1;
        return error > 0;
    }

  private:
    struct order;
    struct plan;
    static plan& make_plan();
    static int act(std::size_t place) noexcept;
    static plan* plan_;
#else
    static void arm(std::string_view, action, std::uint32_t = 1, std::uint32_t = 1, int = 0,
                    unsigned = fail_points::anyone) {
        skip_test();
    }
    static void arm_also(std::string_view, action, std::uint32_t = 1, std::uint32_t = 1, int = 0,
                         unsigned = fail_points::anyone) {
        skip_test();
    }
    static void count() { skip_test(); }
    static void disarm() noexcept {}
    static void release() noexcept {}
    [[nodiscard]] static std::uint32_t hits() noexcept { return 0; }
    [[nodiscard]] static std::uint32_t hits(std::size_t, fail_points::visitor) noexcept {
        return 0;
    }
    [[nodiscard]] static pid_t stopped() noexcept { return 0; }

    // Not even a call is left where nothing is optimised.
    [[gnu::always_inline]] static constexpr void enter(fail_points::visitor) noexcept {}
    [[gnu::always_inline]] static constexpr void pass(fail_place) noexcept {}
    [[nodiscard, gnu::always_inline]] static constexpr bool refused(fail_place) noexcept {
        return false;
    }
    [[nodiscard, gnu::always_inline]] static constexpr bool refused(fail_place,
                                                                    std::size_t&) noexcept {
        return false;
    }

  private:
    // The rest of the program isn't run either: 77 is what Meson takes for a test left out.
    [[noreturn]] static void skip_test() {
        std::puts("the library was built without fail points (-Dfail_points=true)");
        std::fflush(stdout);
        std::_Exit(77);
    }
#endif
};

}  // namespace prefork::base

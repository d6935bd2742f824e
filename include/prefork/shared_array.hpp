#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

#include "prefork/detail/payload.hpp"
#include "prefork/detail/shared_block.hpp"

namespace prefork {

class pool;

/// An array in the pool's shared memory: as an argument or a result it travels as an offset,
/// whatever its size.
///
/// Copies share the elements; the memory goes back with the last of them, and with the last task
/// that still has it. The host may write to an array that it made with
/// `pool.make_shared_array<T>(n)`; to a task it is read-only, and a write there is a SIGSEGV that
/// ends the task. A task makes its result with `make_shared_array<T>(n)` in its own part of the
/// memory and returns it. Elements are zero at first. Thread safety: as std::shared_ptr; the
/// elements have no lock.
///
/// One that a pool's workers can't see, because it was made by a task that ran inline, outside of
/// any task, or for another pool, is copied into the pool's memory by each call that it is an
/// argument of.
///
/// To a task an argument is valid until the task returns. A copy that the worker keeps longer, in a
/// global or a worker_local, keeps nothing alive: once the host has let go of the array its memory
/// is used again, and the kept copy shows what is there then, without any error. The same holds for
/// what a task has returned. Keep the elements instead (a std::vector). An array of
/// make_shared_array() that the task did *not* return is the worker's own, and may be kept.
template <class T>
class shared_array {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64,
                  "prefork: elements of a shared_array are seen by several processes: they must be "
                  "trivially copyable and aligned to at most 64 bytes");

  public:
    shared_array() noexcept = default;
    explicit shared_array(detail::shared_ref block) noexcept : block_(std::move(block)) {}

    [[nodiscard]] std::size_t size() const noexcept { return block_.bytes() / sizeof(T); }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    [[nodiscard]] T* data() noexcept { return reinterpret_cast<T*>(block_.data()); }
    [[nodiscard]] const T* data() const noexcept {
        return reinterpret_cast<const T*>(block_.data());
    }
    [[nodiscard]] std::span<T> span() noexcept { return {data(), size()}; }
    [[nodiscard]] std::span<const T> span() const noexcept { return {data(), size()}; }
    [[nodiscard]] T& operator[](std::size_t i) noexcept { return data()[i]; }
    [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data()[i]; }
    [[nodiscard]] T* begin() noexcept { return data(); }
    [[nodiscard]] T* end() noexcept { return data() + size(); }
    [[nodiscard]] const T* begin() const noexcept { return data(); }
    [[nodiscard]] const T* end() const noexcept { return data() + size(); }

  private:
    friend struct detail::custom_codec<shared_array>;
    detail::shared_ref block_;
};

/// In a task: an array in the worker's own part, to be returned. Outside of a worker (inline runs),
/// in private memory. \throws payload_too_large when the memory budget doesn't allow it
template <class T>
[[nodiscard]] shared_array<T> make_shared_array(std::size_t count) {
    return shared_array<T>{detail::shared_ref::allocate_here(count, sizeof(T))};
}

template <class T>
struct detail::custom_codec<shared_array<T>> {
    using wire = shared_wire;
    static wire to_wire(const shared_array<T>& array) { return array.block_.send(); }
    static shared_array<T> from_wire(wire from) {
        return shared_array<T>{shared_ref::receive(from, sizeof(T), alignof(T))};
    }
};

}  // namespace prefork

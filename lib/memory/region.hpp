#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/unique_fd.hpp"

// The shared memory: one unnamed, sealed memfd in one sparse mapping, made before the fork, so that
// every process sees it at the same address and it grows without remapping (design.md §4).
//
//   part        host   fork server   workers
//   control     rw     read-only     rw: hints, journals; small words with rules of their own
//   ring        rw     read-only     rw: slots
//   arguments   rw     read-only     read-only: a wild pointer can't spoil another's arguments
//   results     rw     read-only     read-only, but for the own seat: rw
//
// Boost.Interprocess is not used here: its mapped_region can neither reserve address space without
// committing it nor put a read-only view over an inherited mapping at the same address, and because
// all processes map at the same address its offset_ptr would only add a subtraction.

namespace prefork::memory {

struct region_request {
    std::size_t control_bytes = 0;
    std::size_t ring_bytes = 0;
    unsigned seats = 0;
    /// Address space, not memory: pages cost nothing until they are secured. Halved, down to
    /// `region::minimum_part_bytes`, where RLIMIT_AS or RLIMIT_FSIZE don't allow as much.
    std::uint64_t argument_bytes = std::uint64_t{256} << 30;
    std::uint64_t result_bytes = std::uint64_t{512} << 30;  ///< all seats together
};

class region {
  public:
    /// Of arguments, and of each seat's results. A huge page: parts begin on such bounds, so that a
    /// change of access never splits one.
    static constexpr std::uint64_t minimum_part_bytes = std::uint64_t{2} << 20;
    /// A seat never needs more than a huge result takes: fewer seats don't get more.
    static constexpr std::uint64_t maximum_seat_bytes = std::uint64_t{64} << 30;

    /// \throws std::system_error naming the call and its size, when not even the minimum can be had
    explicit region(const region_request& request);
    ~region();
    region(const region&) = delete;
    region& operator=(const region&) = delete;

    [[nodiscard]] std::span<std::byte> control() const noexcept { return part(0, control_bytes_); }
    [[nodiscard]] std::span<std::byte> ring() const noexcept {
        return part(control_bytes_, ring_bytes_);
    }
    [[nodiscard]] std::span<std::byte> arguments() const noexcept {
        return part(control_bytes_ + ring_bytes_, argument_bytes_);
    }
    [[nodiscard]] std::span<std::byte> results(unsigned seat) const noexcept {
        return part(control_bytes_ + ring_bytes_ + argument_bytes_ + seat * seat_bytes_,
                    seat_bytes_);
    }
    /// The seat whose part `p` lies in; `p` must lie in one.
    [[nodiscard]] unsigned seat_of(const std::byte* p) const noexcept {
        return static_cast<unsigned>((offset_of(p) - offset_of(results(0).data())) / seat_bytes_);
    }
    [[nodiscard]] std::byte* base() const noexcept { return base_; }
    [[nodiscard]] bool contains(const std::byte* data, std::uint64_t bytes) const noexcept {
        return data >= base_ && data <= base_ + size_ && bytes <= size_ - offset_of(data);
    }
    [[nodiscard]] std::uint64_t offset_of(const std::byte* p) const noexcept {
        return static_cast<std::uint64_t>(p - base_);
    }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

    /// Host: gives [p, p + size) pages, or returns the errno (ENOSPC, ENOMEM) and gives none.
    /// What was secured can be written without a signal, whoever writes it.
    [[nodiscard]] int secure(std::span<const std::byte> bytes) noexcept;
    /// Host: gives the whole pages inside `bytes` back to the kernel.
    void release(std::span<const std::byte> bytes) noexcept;
    /// Bytes of memory behind the region now.
    [[nodiscard]] std::uint64_t resident_bytes() const noexcept;

    /// In the fork server, once: nothing can be written any more, by a bug either. Its workers get
    /// back what become_worker() gives. Returns an errno, 0 when done.
    [[nodiscard]] int become_fork_server() noexcept;
    /// In a worker, once, before user code: access as in the table above, and the descriptor
    /// closed. Returns an errno, 0 when done.
    [[nodiscard]] int become_worker(unsigned seat) noexcept;

    /// In a worker, for bytes of its own part that were not secured before: as secure().
    /// MADV_POPULATE_WRITE (Linux 5.14), or for older kernels a write by the kernel on our behalf,
    /// which fails with EFAULT where our own would be SIGBUS.
    [[nodiscard]] static int secure_in_worker(std::span<std::byte> bytes) noexcept;
    static void release_in_worker(std::span<std::byte> bytes) noexcept;

  private:
    [[nodiscard]] std::span<std::byte> part(std::uint64_t offset,
                                            std::uint64_t size) const noexcept {
        return {base_ + offset, static_cast<std::size_t>(size)};
    }
    void reserve(const region_request& request);
    void seal();
    [[nodiscard]] bool map_read_only(int view, std::uint64_t from, std::uint64_t to) noexcept;

    base::unique_fd fd_;
    std::byte* base_ = nullptr;
    std::uint64_t control_bytes_ = 0;
    std::uint64_t ring_bytes_ = 0;
    std::uint64_t argument_bytes_ = 0;
    std::uint64_t seat_bytes_ = 0;
    std::uint64_t size_ = 0;
};

}  // namespace prefork::memory

#include "memory/region.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>

#include "base/fail_point.hpp"
#include "base/system_call.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // <linux/mman.h> of Linux 5.14
#endif

namespace prefork::memory {
namespace {

constexpr std::uint64_t page = 4096;
// Parts begin on huge-page bounds, so that a change of access never splits one.
constexpr std::uint64_t part_alignment = std::uint64_t{2} << 20;

constexpr std::uint64_t align_up(std::uint64_t bytes, std::uint64_t to) {
    return (bytes + to - 1) / to * to;
}

// A file larger than RLIMIT_FSIZE is not refused but answered with SIGXFSZ.
std::uint64_t largest_file() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return ~0ull;
    return limit.rlim_cur;
}

}  // namespace

region::region(const region_request& request) {
    fd_ = base::memfd_create("prefork", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    map(request);
    // Nobody can shrink it under us, which would turn our reads into SIGBUS, nor seal it further.
    // Growth is sealed too: the size is the reservation.
    base::checked(::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                  "fcntl(F_ADD_SEALS) on the shared memory");
    if (const int error = secure({base_, control_bytes_ + ring_bytes_}); error != 0) {
        base::throw_system_error(error, "fallocate for the ring");
    }
}

void region::map(const region_request& request) {
    control_bytes_ = align_up(request.control_bytes, part_alignment);
    ring_bytes_ = align_up(request.ring_bytes, part_alignment);
    argument_bytes_ = request.argument_bytes;
    std::uint64_t result_bytes = request.result_bytes;
    const std::uint64_t allowed = largest_file();
    for (;;) {
        argument_bytes_ = align_up(std::max(argument_bytes_, minimum_part_bytes), part_alignment);
        // A seat never needs more than what a huge result takes; fewer seats don't get more.
        seat_bytes_ = align_up(std::clamp(result_bytes / std::max(request.seats, 1u),
                                          minimum_part_bytes, std::uint64_t{64} << 30),
                               part_alignment);
        size_ = control_bytes_ + ring_bytes_ + argument_bytes_ + request.seats * seat_bytes_;
        int error = EFBIG;
        const char* call = "ftruncate (RLIMIT_FSIZE)";
        if (size_ <= allowed && ::ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0) {
            call = "mmap";
            void* const mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
            if (mapped != MAP_FAILED) {
                base_ = static_cast<std::byte*>(mapped);
                // A core dump of the host must not contain a terabyte of holes, nor a crash of a
                // worker take minutes to look through them.
                ::madvise(base_, size_, MADV_DONTDUMP);
                return;
            }
            error = errno;
        } else if (size_ <= allowed) {
            error = errno;
            call = "ftruncate";
        }
        const bool smallest = argument_bytes_ <= part_alignment && seat_bytes_ <= part_alignment;
        if (smallest) {
            base::throw_system_error(error, std::string(call) + " of " + std::to_string(size_) +
                                                " bytes for the shared memory");
        }
        argument_bytes_ /= 2;
        result_bytes /= 2;
    }
}

region::~region() { ::munmap(base_, size_); }

int region::secure(std::span<const std::byte> bytes) noexcept {
    if (const int error = base::fail_point::hit("region.fallocate"); error != 0) return error;
    const std::uint64_t first = offset_of(bytes.data()) / page * page;
    const std::uint64_t last = align_up(offset_of(bytes.data()) + bytes.size(), page);
    for (;;) {
        if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first),
                        static_cast<off_t>(last - first)) == 0) {
            return 0;
        }
        if (errno != EINTR) return errno;
    }
}

void region::release(std::span<const std::byte> bytes) noexcept {
    const std::uint64_t first = align_up(offset_of(bytes.data()), page);
    const std::uint64_t last = (offset_of(bytes.data()) + bytes.size()) / page * page;
    if (first >= last) return;
    // Failure only means that the pages stay ours.
    static_cast<void>(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  static_cast<off_t>(first), static_cast<off_t>(last - first)));
}

std::uint64_t region::resident_bytes() const noexcept {
    struct stat now {};
    return ::fstat(fd_.get(), &now) == 0 ? static_cast<std::uint64_t>(now.st_blocks) * 512 : 0;
}

int region::become_worker(unsigned seat) noexcept {
    // A shared mapping made from a read-write descriptor may be made writable again by mprotect;
    // one from a descriptor opened for reading may not. Without /proc the weaker form has to do:
    // the threat is bugs, and they don't call mprotect.
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd_.get());
    const base::unique_fd reopened{::open(path, O_RDONLY | O_CLOEXEC)};
    const int view = reopened ? reopened.get() : fd_.get();

    const auto own = results(seat);
    const std::uint64_t first = control_bytes_ + ring_bytes_;
    const std::uint64_t own_first = offset_of(own.data());
    const std::uint64_t own_last = own_first + own.size();
    const auto read_only_view = [&](std::uint64_t from, std::uint64_t to) {
        return from == to ||
               ::mmap(base_ + from, to - from, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
                      view, static_cast<off_t>(from)) != MAP_FAILED;
    };
    if (!read_only_view(first, own_first) || !read_only_view(own_last, size_)) return errno;
    fd_.reset();
    return 0;
}

int region::secure_in_worker(std::span<std::byte> bytes) noexcept {
    const auto first = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
    const auto last = align_up(reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size(), page);
    int error = base::fail_point::hit("region.populate_write");
    while (error == 0) {
        if (::madvise(reinterpret_cast<void*>(first), last - first, MADV_POPULATE_WRITE) == 0)
            return 0;
        if (errno != EINTR) error = errno;
    }
    // EFAULT is what an exhausted memfd or a poisoned page gives; EINVAL, a kernel without the
    // call.
    if (error != EINVAL) return error == EFAULT ? ENOMEM : error;
    for (std::uintptr_t at = first; at < last; at += page) {
        // A byte onto itself: racing with nobody, because no one reads what is not allocated.
        iovec byte{reinterpret_cast<void*>(at), 1};
        if (::process_vm_writev(::getpid(), &byte, 1, &byte, 1, 0) != 1) {
            return errno == EFAULT ? ENOMEM : errno;
        }
    }
    return 0;
}

void region::release_in_worker(std::span<std::byte> bytes) noexcept {
    const auto first = align_up(reinterpret_cast<std::uintptr_t>(bytes.data()), page);
    const auto last = (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size()) / page * page;
    // Workers hold no descriptor to punch holes with; MADV_REMOVE does the same by address.
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_REMOVE);
}

}  // namespace prefork::memory

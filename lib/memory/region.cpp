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
#include "memory/live_regions.hpp"
#include "memory/page.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // <linux/mman.h> of Linux 5.14
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // <linux/memfd.h> of Linux 6.3
#endif

namespace prefork::memory {
namespace {

constexpr unsigned memfd_flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

base::unique_fd make_file() {
    // Not executable, where the kernel can say so: some are set to refuse the others
    // (vm.memfd_noexec), and all since 6.3 complain about them in the log.
    base::unique_fd file = base::above_standard_streams(
        base::fail_point::refused("memory.memfd_create")
            ? -1
            : ::memfd_create("prefork", memfd_flags | MFD_NOEXEC_SEAL));
    if (file) return file;
    if (errno != EINVAL) base::throw_system_error(errno, "memfd_create");
    return base::memfd_create("prefork", memfd_flags);
}

// A file larger than RLIMIT_FSIZE is not refused but answered with SIGXFSZ.
std::uint64_t largest_file() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return ~0ull;
    return limit.rlim_cur;
}

// Why memory of `size` bytes at `fd` could not be mapped, and the mapping if it could.
struct attempt {
    void* mapped = MAP_FAILED;
    int error = 0;
    const char* call = nullptr;
};

attempt try_map(int fd, std::uint64_t size, std::uint64_t largest) {
    if (size > largest) return {MAP_FAILED, EFBIG, "ftruncate (RLIMIT_FSIZE)"};
    if (base::fail_point::refused("memory.ftruncate") ||
        ::ftruncate(fd, static_cast<off_t>(size)) != 0) {
        return {MAP_FAILED, errno, "ftruncate"};
    }
    // Without access at first: in a host that has called mlockall(MCL_FUTURE), a mapping that can
    // be read is filled with pages at once, all of it.
    void* const mapped = base::fail_point::refused("memory.mmap")
                             ? MAP_FAILED
                             : ::mmap(nullptr, size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mapped == MAP_FAILED) return {MAP_FAILED, errno, "mmap"};
    ::munlock(mapped, size);
    if (::mprotect(mapped, size, PROT_READ | PROT_WRITE) == 0) return {mapped, 0, nullptr};
    const int error = errno;
    ::munmap(mapped, size);
    return {MAP_FAILED, error, "mprotect"};
}

// The whole pages around `bytes`.
std::span<std::byte> whole_pages(std::span<std::byte> bytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const std::uint64_t before = begin % page_bytes();
    return {bytes.data() - before, align_up(before + bytes.size(), page_bytes())};
}

// For kernels before 5.14. A byte onto itself in each page: racing with nobody, because no one
// reads what is not allocated.
int write_by_kernel(std::span<std::byte> pages) {
    for (std::size_t at = 0; at < pages.size(); at += page_bytes()) {
        iovec byte{pages.data() + at, 1};
        if (base::fail_point::refused("memory.process_vm_writev") ||
            ::process_vm_writev(::getpid(), &byte, 1, &byte, 1, 0) != 1) {
            return errno == EFAULT ? ENOMEM : errno;
        }
    }
    return 0;
}

}  // namespace

region::region(const region_request& request) : fd_(make_file()) {
    reserve(request);
    try {
        seal();
        enter_region({{base_, size_}, control_bytes_ + ring_bytes_});
    } catch (...) {
        ::munmap(base_, size_);
        throw;
    }
}

void region::reserve(const region_request& request) {
    control_bytes_ = align_up(request.control_bytes, minimum_part_bytes);
    ring_bytes_ = align_up(request.ring_bytes, minimum_part_bytes);
    std::uint64_t arguments = request.argument_bytes;
    std::uint64_t results = request.result_bytes;
    const std::uint64_t largest = largest_file();
    for (;; arguments /= 2, results /= 2) {
        argument_bytes_ = align_up(std::max(arguments, minimum_part_bytes), minimum_part_bytes);
        seat_bytes_ = align_up(std::clamp(results / std::max(request.seats, 1u), minimum_part_bytes,
                                          maximum_seat_bytes),
                               minimum_part_bytes);
        size_ = control_bytes_ + ring_bytes_ + argument_bytes_ + request.seats * seat_bytes_;
        const attempt made = try_map(fd_.get(), size_, largest);
        if (made.mapped != MAP_FAILED) {
            base_ = static_cast<std::byte*>(made.mapped);
            // A core dump must not contain a terabyte of holes, nor take minutes to look through
            // them.
            ::madvise(base_, size_, MADV_DONTDUMP);
            return;
        }
        if (argument_bytes_ == minimum_part_bytes && seat_bytes_ == minimum_part_bytes) {
            base::throw_system_error(made.error, std::string(made.call) + " of " +
                                                     std::to_string(size_) +
                                                     " bytes for the shared memory");
        }
    }
}

void region::seal() {
    // Nobody can shrink it under us, which would turn our reads into SIGBUS, nor seal it further.
    // Growth is sealed too: the size is the reservation.
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    base::checked(
        base::fail_point::refused("memory.fcntl") ? -1 : ::fcntl(fd_.get(), F_ADD_SEALS, seals),
        "fcntl(F_ADD_SEALS) on the shared memory");
    if (const int error = secure({base_, control_bytes_ + ring_bytes_}); error != 0) {
        base::throw_system_error(
            error,
            "fallocate of " + std::to_string(control_bytes_ + ring_bytes_) + " bytes for the ring");
    }
}

region::~region() { leave_region(base_); }

int region::secure(std::span<const std::byte> bytes) noexcept {
    const std::uint64_t first = align_down(offset_of(bytes.data()), page_bytes());
    const std::uint64_t last = align_up(offset_of(bytes.data()) + bytes.size(), page_bytes());
    if (first == last) return 0;
    for (;;) {
        if (!base::fail_point::refused("memory.fallocate") &&
            ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first),
                        static_cast<off_t>(last - first)) == 0) {
            return 0;
        }
        if (errno != EINTR) return errno;
    }
}

void region::release(std::span<const std::byte> bytes) noexcept {
    const std::uint64_t first = align_up(offset_of(bytes.data()), page_bytes());
    const std::uint64_t last = align_down(offset_of(bytes.data()) + bytes.size(), page_bytes());
    if (first >= last) return;
    // Failure only means that the pages stay ours.
    if (base::fail_point::refused("memory.punch_fallocate")) return;
    static_cast<void>(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  static_cast<off_t>(first), static_cast<off_t>(last - first)));
}

std::uint64_t region::resident_bytes() const noexcept {
    struct stat now {};
    return ::fstat(fd_.get(), &now) == 0 ? static_cast<std::uint64_t>(now.st_blocks) * 512 : 0;
}

int region::become_fork_server() noexcept {
    if (base::fail_point::refused("memory.server_mprotect")) return errno;
    return ::mprotect(base_, size_, PROT_READ) == 0 ? 0 : errno;
}

bool region::map_read_only(int view, std::uint64_t from, std::uint64_t to) noexcept {
    if (from == to) return true;
    if (base::fail_point::refused("memory.view_mmap") ||
        ::mmap(base_ + from, to - from, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, view,
               static_cast<off_t>(from)) == MAP_FAILED) {
        return false;
    }
    ::madvise(base_ + from, to - from, MADV_DONTDUMP);  // a new mapping begins without it
    return true;
}

int region::become_worker(unsigned seat) noexcept {
    // A shared mapping made from a read-write descriptor may be made writable again by mprotect;
    // one from a descriptor opened for reading may not. Without /proc the weaker form has to do:
    // the threat is bugs, and they don't call mprotect.
    char path[32];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd_.get());
    const base::unique_fd reopened{
        base::fail_point::refused("memory.view_open") ? -1 : ::open(path, O_RDONLY | O_CLOEXEC)};
    const int view = reopened ? reopened.get() : fd_.get();

    const auto own = results(seat);
    const std::uint64_t words = control_bytes_ + ring_bytes_;
    const std::uint64_t own_first = offset_of(own.data());
    if (!map_read_only(view, words, own_first) ||
        !map_read_only(view, own_first + own.size(), size_)) {
        return errno;
    }
    // What become_fork_server() took.
    const int write = PROT_READ | PROT_WRITE;
    if (base::fail_point::refused("memory.own_mprotect") || ::mprotect(base_, words, write) != 0 ||
        ::mprotect(own.data(), own.size(), write) != 0) {
        return errno;
    }
    fd_.reset();
    return 0;
}

int region::secure_in_worker(std::span<std::byte> bytes) noexcept {
    const auto pages = whole_pages(bytes);
    int error = EINTR;
    while (error == EINTR) {
        if (!base::fail_point::refused("memory.populate_write") &&
            ::madvise(pages.data(), pages.size(), MADV_POPULATE_WRITE) == 0) {
            return 0;
        }
        error = errno;
    }
    // No such advice before Linux 5.14.
    if (error == EINVAL) error = write_by_kernel(pages);
    if (error == 0) return 0;
    // Some may have got pages. EFAULT is how a write to an exhausted memfd is refused.
    release_in_worker(bytes);
    return error == EFAULT ? ENOMEM : error;
}

void region::release_in_worker(std::span<std::byte> bytes) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    const std::uint64_t skip = align_up(begin, page_bytes()) - begin;
    if (skip >= bytes.size()) return;
    const std::uint64_t size = align_down(bytes.size() - skip, page_bytes());
    // Workers hold no descriptor to punch holes with; MADV_REMOVE does the same by address.
    if (size == 0 || base::fail_point::refused("memory.remove_madvise")) return;
    ::madvise(bytes.data() + skip, size, MADV_REMOVE);
}

}  // namespace prefork::memory

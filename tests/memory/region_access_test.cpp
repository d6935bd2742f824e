// Who may write where (the table of memory/region.hpp), and securing without a descriptor.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "base/fail_point.hpp"
#include "base/system_call.hpp"
#include "memory/region.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"

using prefork::base::fail_point;
using prefork::memory::region;
using prefork::test::child_end;
using prefork::test::in_child;

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr child_end done{0, 0};
constexpr child_end segfault{0, SIGSEGV};

prefork::memory::region_request small() { return {1000, 5000, 3, 16 * mib, 12 * mib}; }

void write_to(std::span<std::byte> bytes) {
    *const_cast<volatile std::byte*>(bytes.data()) = std::byte{1};
}

// How a worker of seat 1 ends that writes there.
child_end worker_writing(region& shared, std::span<std::byte> bytes) {
    return in_child([&] {
        if (shared.become_worker(1) != 0) return 1;
        write_to(bytes);
        return 0;
    });
}

struct armed {
    armed(const char* place, int error) {
        fail_point::arm(place, fail_point::action::fail, 1, 1000, error);
    }
    ~armed() { fail_point::disarm(); }
};

}  // namespace

TEST_CASE("a worker that writes to arguments or to another's results dies of it") {
    const prefork::test::leaks guard;
    region shared{small()};
    CHECK(worker_writing(shared, shared.arguments()) == segfault);
    CHECK(worker_writing(shared, shared.arguments().last(1)) == segfault);
    CHECK(worker_writing(shared, shared.results(0).last(1)) == segfault);
    CHECK(worker_writing(shared, shared.results(2).first(1)) == segfault);
    CHECK(shared.arguments()[0] == std::byte{0});
}

TEST_CASE("a worker writes to control, ring and its own results, and the host sees it") {
    region shared{small()};
    for (const auto bytes : {shared.control(), shared.ring().last(1), shared.results(1).first(1),
                             shared.results(1).last(1)}) {
        CHECK(worker_writing(shared, bytes) == done);
        CHECK(bytes[0] == std::byte{1});
    }
}

TEST_CASE("a worker reads what the host writes after the fork, at the same address") {
    region shared{small()};
    int go[2];
    REQUIRE(::pipe(go) == 0);
    const pid_t worker = prefork::test::fork_child([&] {
        char told = 0;
        if (shared.become_worker(1) != 0 || ::read(go[0], &told, 1) != 1) return 1;
        return std::memcmp(shared.arguments().data() + mib, "argument", 8) == 0 ? 0 : 2;
    });
    std::memcpy(shared.arguments().data() + mib, "argument", 8);
    REQUIRE(::write(go[1], "!", 1) == 1);
    CHECK(prefork::test::wait_for_child(worker) == done);
    ::close(go[0]);
    ::close(go[1]);
}

TEST_CASE("a worker can't make arguments writable, and has no descriptor to go round by") {
    region shared{small()};
    const auto body = [&] {
        const int fd = shared.fd();
        if (shared.become_worker(1) != 0) return 1;
        if (::fcntl(fd, F_GETFD) != -1 || errno != EBADF) return 2;
        const auto bytes = shared.arguments();
        if (::mprotect(bytes.data(), bytes.size(), PROT_READ | PROT_WRITE) == 0) return 3;
        return errno == EACCES ? 0 : 4;
    };
    CHECK(in_child(body) == done);
}

TEST_CASE("a fork server can write nowhere, and its workers can write where workers do") {
    region shared{small()};
    for (const auto bytes :
         {shared.control(), shared.ring(), shared.arguments(), shared.results(1)}) {
        const auto server = [&] {
            if (shared.become_fork_server() != 0) return 1;
            write_to(bytes);
            return 0;
        };
        CHECK(in_child(server) == segfault);
    }
    const auto server = [&] {
        if (shared.become_fork_server() != 0) return 1;
        for (const auto bytes : {shared.control(), shared.ring(), shared.results(1)}) {
            if (worker_writing(shared, bytes) != done) return 2;
        }
        return worker_writing(shared, shared.arguments()) == segfault ? 0 : 3;
    };
    CHECK(in_child(server) == done);
}

TEST_CASE("no process dumps the region when it crashes") {
    region shared{small()};
    // Lines "VmFlags: … dd …" belong to the mapping named last; "dd" is MADV_DONTDUMP (proc(5)).
    const auto dumped = [] {
        std::ifstream maps{"/proc/self/smaps"};
        bool ours = false;
        int mappings = 0;
        for (std::string line; std::getline(maps, line);) {
            if (line.find("-") < 20) ours = line.find("/memfd:prefork") != std::string::npos;
            if (!ours || line.rfind("VmFlags:", 0) != 0) continue;
            ++mappings;
            if (line.find(" dd") == std::string::npos) return 1;
        }
        return mappings > 0 ? 0 : 2;
    };
    CHECK(dumped() == 0);
    CHECK(in_child([&] { return shared.become_worker(1) == 0 ? dumped() : 3; }) == done);
}

// ---- in a worker, without a descriptor

namespace {

// Both ways to secure: error EINVAL is how a kernel before 5.14 answers the first.
template <class Body>
void each_way(Body body) {
    body();
    const armed old_kernel{"memory.populate_write", EINVAL};
    body();
    CHECK(fail_point::hits() > 0);
}

}  // namespace

TEST_CASE("a worker gets pages for its own part and gives them back") {
    each_way([] {
        region shared{small()};
        const std::uint64_t before = shared.resident_bytes();
        const auto bytes = shared.results(1).first(mib);
        const auto secured = [&] {
            return shared.become_worker(1) == 0 ? region::secure_in_worker(bytes) : 1;
        };
        CHECK(in_child(secured) == done);
        CHECK(shared.resident_bytes() == before + mib);
        const auto released = [&] {
            if (shared.become_worker(1) != 0) return 1;
            region::release_in_worker(bytes);
            return 0;
        };
        CHECK(in_child(released) == done);
        CHECK(shared.resident_bytes() == before);
    });
}

TEST_CASE("where the kernel has no page for a worker, the answer is an error and not a signal") {
    // A file that ends before its mapping does is refused like one without memory: by SIGBUS to
    // who touches it.
    each_way([] {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const auto file = prefork::base::memfd_create("short", MFD_CLOEXEC);
        REQUIRE(::ftruncate(file.get(), static_cast<off_t>(page)) == 0);
        void* const at =
            ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        REQUIRE(at != MAP_FAILED);
        const std::span bytes{static_cast<std::byte*>(at), 2 * page};
        CHECK(in_child([&] { return write_to(bytes.last(1)), 0; }) == child_end{0, SIGBUS});

        CHECK(region::secure_in_worker(bytes.last(page)) == ENOMEM);
        CHECK(region::secure_in_worker(bytes) == ENOMEM);
        struct stat now {};
        REQUIRE(::fstat(file.get(), &now) == 0);
        CHECK(now.st_blocks == 0);  // the page that could be had was given back
        CHECK(region::secure_in_worker(bytes.first(page)) == 0);
        ::munmap(at, 2 * page);
    });
}

TEST_CASE("what the kernel answers a worker that asks for pages is handed on") {
    region shared{small()};
    const armed refusal{"memory.populate_write", ENOSPC};
    CHECK(region::secure_in_worker(shared.results(1).first(mib)) == ENOSPC);
}

TEST_CASE("releasing in a worker spares the pages that the bytes only touch") {
    region shared{small()};
    const auto bytes = shared.results(1).first(mib);
    REQUIRE(region::secure_in_worker(bytes) == 0);
    std::memset(bytes.data(), 7, bytes.size());
    region::release_in_worker(bytes.subspan(1, mib - 2));
    CHECK(bytes[0] == std::byte{7});
    CHECK(bytes[mib - 1] == std::byte{7});
    CHECK(bytes[mib / 2] == std::byte{0});
    region::release_in_worker(bytes.subspan(1, 10));
    CHECK(bytes[1] == std::byte{7});
}

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <vector>

#include "base/cgroup.hpp"
#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"

// design.md §5, "who killed it?": a real kill by the kernel, in a memory cgroup made for it.

namespace pf = prefork;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

/// A cgroup of 64 MiB below our own; ends the program as skipped where none can be made.
class small_cgroup {
  public:
    small_cgroup() {
        for (const auto& [path, version] : pf::base::cgroup_directories("", "memory")) {
            const bool v2 = version == pf::base::cgroup_version::v2;
            const fs::path made = path + "/prefork-test-" + std::to_string(::getpid());
            std::error_code refused;
            if (!fs::create_directory(made, refused) || refused) continue;
            path_ = made;
            if (write(v2 ? "memory.max" : "memory.limit_in_bytes", limit)) {
                // Without this, and with swap, the hog would only become slow.
                static_cast<void>(
                    write(v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", v2 ? 0 : limit));
                return;
            }
            fs::remove(path_, refused);
        }
        std::puts("no memory cgroup can be made here");
        ::_exit(77);
    }
    ~small_cgroup() {
        std::error_code ignored;
        fs::remove(path_, ignored);
    }
    small_cgroup(const small_cgroup&) = delete;
    small_cgroup& operator=(const small_cgroup&) = delete;

    [[nodiscard]] bool write(const char* file, long value) const {
        std::FILE* const to = std::fopen((path_ / file).c_str(), "w");
        if (to == nullptr) return false;
        const bool written = std::fprintf(to, "%ld", value) > 0;
        return std::fclose(to) == 0 && written;
    }

  private:
    static constexpr long limit = 64L << 20;
    fs::path path_;
};

char hog(std::size_t bytes) {
    const std::vector<char> memory(bytes, 'x');
    return memory[bytes / 2];
}

}  // namespace

TEST_CASE("a worker that the kernel ends for want of memory is lost to the OOM killer") {
    const small_cgroup small;
    const auto end = pf::test::in_child([&] {
        if (!small.write("cgroup.procs", ::getpid())) return 1;
        pf::pool pool{{.workers = 1, .memory_budget = 1u << 20}};
        try {
            pool.submit(hog, std::size_t{256} << 20).get_for(15s);
            return 2;
        } catch (const pf::worker_lost& e) {
            if (e.signal() != SIGKILL) return 3;
            if (e.killed_by() != pf::killer::oom_killer) return 4;
        }
        return pool.submit(hog, std::size_t{1} << 10).get_for(15s) == 'x' ? 0 : 5;
    });
    CHECK(end == pf::test::child_end{0, 0});
}

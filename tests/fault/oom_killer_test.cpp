#include <csignal>
#include <stdexcept>
#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"
#include "support/own_cgroup.hpp"
#include "support/surroundings.hpp"

// design.md §5, "who killed it?": a real kill by the kernel, in a memory cgroup made for it.

namespace pf = prefork;
using namespace std::chrono_literals;

namespace {

char hog(std::size_t bytes) {
    const std::vector<char> memory(bytes, 'x');
    return memory[bytes / 2];
}

}  // namespace

TEST_CASE("a worker that the kernel ends for want of memory is lost to the OOM killer") {
    using pf::test::own_cgroup;
    pf::test::with_cgroup("memory", own_cgroup::memory_limit, [](const own_cgroup& small) {
        small.limit_memory(64u << 20);
        CHECK(pf::test::in_surroundings([&] {
                  small.enter();
                  pf::pool pool{{.workers = 1, .memory_budget = 1u << 20}};
                  try {
                      pool.submit(hog, std::size_t{256} << 20).get_for(15s);
                      throw std::runtime_error("it has 256 MiB of 64");
                  } catch (const pf::worker_lost& e) {
                      pf::test::expect(e.signal() == SIGKILL, "not by SIGKILL");
                      pf::test::expect(e.killed_by() == pf::killer::oom_killer,
                                       "not by the kernel");
                  }
                  const char one = pool.submit(hog, std::size_t{1} << 10).get_for(15s);
                  pf::test::expect(one == 'x', "the next task has no worker");
              }) == "");
    });
}

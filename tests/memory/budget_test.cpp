#include "memory/budget.hpp"

#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/fake_machine.hpp"
#include "support/in_child.hpp"
#include "support/leaks.hpp"

using prefork::memory::budget;
using prefork::memory::default_budget;

namespace {

constexpr std::uint64_t most = ~std::uint64_t{0};
constexpr unsigned writers = 4;

/// What the writers share, and what they really hold: counted before it is given back and after it
/// is taken, so never more than the truth.
struct shared_words {
    std::array<budget::word, writers> sums;
    std::atomic<std::uint64_t> held;
    std::atomic<std::uint64_t> most_held;
    std::atomic<std::uint64_t> refused;
};

class shared_memory {
  public:
    shared_memory()
        : at_(new (::mmap(nullptr, sizeof(shared_words), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0)) shared_words{}) {}
    ~shared_memory() { ::munmap(at_, sizeof(shared_words)); }
    shared_memory(const shared_memory&) = delete;
    shared_memory& operator=(const shared_memory&) = delete;
    shared_words* operator->() const { return at_; }

  private:
    shared_words* at_;
};

// Takes and gives back at random until `rounds` are done, then gives back what is left.
void hammer(budget& of, std::size_t writer, shared_words& words, int rounds) {
    std::mt19937_64 random{writer};
    std::vector<std::uint64_t> mine;
    while (rounds-- > 0) {
        const std::uint64_t bytes = 1 + random() % 40;
        if (random() % 2 == 0 && !mine.empty()) {
            words.held.fetch_sub(mine.back());
            of.give_back(writer, mine.back());
            mine.pop_back();
        } else if (of.take(writer, bytes)) {
            const std::uint64_t now = words.held.fetch_add(bytes) + bytes;
            std::uint64_t seen = words.most_held.load();
            while (now > seen && !words.most_held.compare_exchange_weak(seen, now)) {
            }
            mine.push_back(bytes);
        } else {
            words.refused.fetch_add(1);
        }
    }
    for (const std::uint64_t bytes : mine) {
        words.held.fetch_sub(bytes);
        of.give_back(writer, bytes);
    }
}

}  // namespace

TEST_CASE("threads that take as fast as they can never hold more than the limit") {
    const prefork::test::leaks guard;
    const shared_memory words;
    budget of{words->sums, 100};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < writers; ++i) {
        threads.emplace_back([&, i] { hammer(of, i, *words.operator->(), 100'000); });
    }
    for (std::thread& each : threads) each.join();
    CHECK(words->most_held <= 100);
    CHECK(words->most_held > 40);  // more than one of them had a share
    CHECK(words->refused > 0);
    CHECK(of.taken() == 0);
}

TEST_CASE("processes that take as fast as they can never hold more than the limit") {
    const prefork::test::leaks guard;
    const shared_memory words;
    budget of{words->sums, 100};
    std::vector<pid_t> children;
    for (std::size_t i = 0; i < writers; ++i) {
        children.push_back(prefork::test::fork_child([&, i] {
            hammer(of, i, *words.operator->(), 100'000);
            return 0;
        }));
    }
    for (const pid_t each : children) {
        CHECK(prefork::test::wait_for_child(each) == prefork::test::child_end{});
    }
    CHECK(words->most_held <= 100);
    CHECK(words->refused > 0);
    CHECK(of.taken() == 0);
}

TEST_CASE("the last byte can be taken, one more is refused, and the refusal changes nothing") {
    const shared_memory words;
    budget of{words->sums, 100};
    CHECK(of.take(0, 60));
    CHECK(of.take(1, 40));
    CHECK_FALSE(of.take(1, 1));
    CHECK(of.taken() == 100);
    CHECK(words->sums[1] == 40);
    of.give_back(0, 10);
    CHECK(of.take(1, 10));
}

TEST_CASE("sizes near 64 bits are refused instead of wrapping") {
    const shared_memory words;
    budget of{words->sums, 100};
    CHECK(of.take(0, 50));
    CHECK_FALSE(of.take(0, most));
    CHECK_FALSE(of.take(0, most - 49));
    CHECK_FALSE(of.take(1, most));
    CHECK(of.taken() == 50);
}

TEST_CASE("a limit of all bits is a limit, not an overflow") {
    const shared_memory words;
    budget of{words->sums, most};
    CHECK(of.take(0, most - 1));
    CHECK(of.take(1, 1));
    CHECK(of.taken() == most);
    // The sum saturates, so what doesn't fit into 64 bits looks like the limit and no more.
    words->sums[2] = most;
    CHECK(of.taken() == most);
}

TEST_CASE("who gives back more than it took owes nothing, and has nothing to its credit") {
    const shared_memory words;
    budget of{words->sums, 100};
    CHECK(of.take(0, 10));
    of.give_back(0, 11);
    CHECK(of.taken() == 0);
    CHECK(of.take(0, 100));
    CHECK_FALSE(of.take(0, 1));
}

TEST_CASE("the share of a dead worker can be taken again") {
    const shared_memory words;
    budget of{words->sums, 100};
    const auto worker = [&] {
        static_cast<void>(of.take(1, 80));
        return 0;
    };
    CHECK(prefork::test::in_child(worker) == prefork::test::child_end{});
    CHECK_FALSE(of.take(0, 50));
    of.forget(1);
    CHECK(of.take(0, 50));
    CHECK(of.taken() == 50);
}

TEST_CASE("a sum that no writer can have published refuses nobody") {
    const shared_memory words;
    budget of{words->sums, 100};
    words->sums[3] = 0xdead'beef'dead'beef;
    CHECK(of.take(0, 100));
    CHECK_FALSE(of.take(1, 1));
}

TEST_CASE("a writer's next move mends its word after somebody wrote over it") {
    const shared_memory words;
    budget of{words->sums, 100};
    CHECK(of.take(0, 30));
    words->sums[0] = 99;
    CHECK_FALSE(of.take(1, 30));  // what the lie costs until then
    CHECK(of.take(0, 10));
    CHECK(words->sums[0] == 40);
    words->sums[0] = 0;
    of.give_back(0, 10);
    CHECK(words->sums[0] == 30);
    CHECK(of.take(1, 70));
}

// ---- the default

namespace {

/// With 8 GiB available.
class machine : public prefork::test::fake_machine {
  public:
    machine() {
        write("/proc/meminfo",
              "MemTotal:       32000000 kB\nMemFree:         1000000 kB\n"
              "MemAvailable:   8388608 kB\n");
    }
    [[nodiscard]] std::uint64_t budget_mib() const { return default_budget(root()) >> 20; }
};

}  // namespace

TEST_CASE("without a cgroup, the budget is half of the memory available") {
    const machine root;
    CHECK(root.budget_mib() == 4096);
}

TEST_CASE("a cgroup's limit counts when it is less than what the machine has") {
    const machine root;
    root.v2("/service");
    root.write("/sys/fs/cgroup/service/memory.max", "1073741824\n");
    CHECK(root.budget_mib() == 512);
    root.write("/sys/fs/cgroup/service/memory.max", "107374182400\n");
    CHECK(root.budget_mib() == 4096);
    root.write("/sys/fs/cgroup/service/memory.max", "max\n");
    CHECK(root.budget_mib() == 4096);
}

TEST_CASE("the limit of a cgroup above ours counts too") {
    const machine root;
    root.v2("/slice/service/part");
    root.write("/sys/fs/cgroup/slice/service/part/memory.max", "max\n");
    root.write("/sys/fs/cgroup/slice/memory.max", "536870912\n");
    CHECK(root.budget_mib() == 256);
}

TEST_CASE("inside a container, whose own cgroup is the root, its limit counts") {
    const machine root;
    root.v2("/");
    root.write("/sys/fs/cgroup/memory.max", "268435456\n");
    CHECK(root.budget_mib() == 128);
}

TEST_CASE("the memory controller of cgroups v1 is found among the others") {
    const machine root;
    root.v1_memory("/right");
    root.write("/sys/fs/cgroup/memory/wrong/memory.limit_in_bytes", "1048576\n");
    root.write("/sys/fs/cgroup/memory/right/memory.limit_in_bytes", "2147483648\n");
    CHECK(root.budget_mib() == 1024);
    // How v1 says that there is none.
    root.write("/sys/fs/cgroup/memory/right/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(root.budget_mib() == 4096);
}

TEST_CASE("files that say nothing sensible limit nothing, and there is always some budget") {
    const machine root;
    root.write("/proc/self/cgroup", "\n:\n::\n0:\n0::relative\nno colon at all\n");
    CHECK(root.budget_mib() == 4096);
    root.v2("/service");
    root.write("/sys/fs/cgroup/service/memory.max", "\n");
    CHECK(root.budget_mib() == 4096);
    root.write("/sys/fs/cgroup/service/memory.max", "0\n");
    CHECK(root.budget_mib() == 1);
    root.write("/proc/meminfo", "MemAvailable: much\n");
    root.write("/sys/fs/cgroup/service/memory.max", "max\n");
    CHECK(root.budget_mib() == 512);
}

TEST_CASE("this machine has a budget, of less than its memory") {
    const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    CHECK(default_budget() >= 1u << 20);
    CHECK(default_budget() <= pages * page / 2);
}

TEST_CASE("pages need room in the budget and in the memory cgroup, and a refusal takes nothing") {
    const prefork::test::fake_machine machine;
    machine.v2("/a");
    machine.write("/sys/fs/cgroup/a/memory.max", "1600\n");
    machine.write("/sys/fs/cgroup/a/memory.current", "1000\n");
    std::array<budget::word, 2> sums{};
    budget of{sums, 1000, prefork::memory::cgroup_room{machine.root()}};
    CHECK(of.take_pages(0, 1001) == EDQUOT);
    CHECK(of.take_pages(0, 201) == ENOMEM);
    CHECK(of.taken() == 0);
    CHECK(of.take_pages(0, 200) == 0);
    machine.write("/sys/fs/cgroup/a/memory.current", "1200\n");
    CHECK(of.take_pages(1, 1) == ENOMEM);
    CHECK(of.taken() == 200);
    CHECK_FALSE(of.has_private_room(1));
}

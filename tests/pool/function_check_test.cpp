#include "pool/function_check.hpp"

#include <dlfcn.h>
#include <sys/mman.h>

#include <vector>

#include "prefork/prefork.hpp"
#include "support/catch.hpp"

namespace pf = prefork;
using prefork::detail::function_check;

namespace {
void somewhere() {}
int data = 0;
}  // namespace

TEST_CASE("code that is loaded is known, data and the heap are not") {
    function_check check;
    const auto code = reinterpret_cast<std::uintptr_t>(&somewhere);
    CHECK(check.knows(code));
    CHECK(check.knows(code));
    CHECK_FALSE(check.knows(reinterpret_cast<std::uintptr_t>(&data)));
    CHECK_FALSE(check.knows(0));
}

TEST_CASE("code that is mapped later is not known") {
    function_check check;
    void* const later =
        ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(later != MAP_FAILED);
    CHECK_FALSE(check.knows(reinterpret_cast<std::uintptr_t>(later)));
    ::munmap(later, 4096);
}

TEST_CASE("a function that was loaded later is refused in every call that takes one") {
    pf::pool pool{{.workers = 1}};
    void* const library = ::dlopen(PREFORK_LATE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(library != nullptr);
    const auto late = reinterpret_cast<int (*)(int)>(::dlsym(library, "late_twice"));
    REQUIRE(late != nullptr);
    REQUIRE_THROWS_AS(pool.submit(late, 1), pf::unknown_function);
    REQUIRE_THROWS_AS(pool.map(std::vector{1}, late), pf::unknown_function);
    pf::task_group<int> group{pool};
    REQUIRE_THROWS_AS(group.run(late, 1), pf::unknown_function);
    pf::pool knows{{.workers = 1}};
    CHECK(knows.map(std::vector{1, 2}, late) == std::vector{2, 4});
    ::dlclose(library);
}

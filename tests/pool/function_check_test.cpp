#include "pool/function_check.hpp"

#include <sys/mman.h>

#include "support/catch.hpp"

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

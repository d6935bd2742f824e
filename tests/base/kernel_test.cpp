#include "base/kernel.hpp"

#include "support/catch.hpp"

using prefork::test::containing;

TEST_CASE("every offer of the kernel is named once, there or not") {
    const std::string text = prefork::base::kernel_offers();
    CAPTURE(text);
    CHECK(text.find("Linux ") == 0);
    for (const char* const name : {"close_range", "futex_waitv", "MADV_POPULATE_WRITE",
                                   "MFD_NOEXEC_SEAL", "lists of children in /proc"}) {
        CHECK_THAT(text, containing(name));
        CHECK(text.find(name) == text.rfind(name));
    }
}

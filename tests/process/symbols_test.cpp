#include "process/symbols.hpp"

#include <cstdint>
#include <cstdlib>

#include "support/catch.hpp"

using prefork::process::symbol;
using prefork::process::symbols;

namespace {

template <class Function>
std::uint64_t address_of(Function* function) {
    return reinterpret_cast<std::uintptr_t>(function);
}

__attribute__((noinline)) int not_exported(int value) { return value * 3; }

}  // namespace

TEST_CASE("a function that the program does not export has its name and offset") {
    symbols known;
    const symbol found = known.at(address_of(&not_exported) + 1);
    CHECK(found.function == "(anonymous namespace)::not_exported(int)");
    CHECK(found.function_offset == 1);
    CHECK(found.object.find("symbols") != std::string::npos);
    CHECK(found.object_offset != 0);
}

TEST_CASE("a function of a library has its name") {
    symbols known;
    const symbol found = known.at(address_of(&std::abort));
    CHECK(found.function.find("abort") != std::string::npos);
}

TEST_CASE("an address without code has neither function nor object") {
    symbols known;
    for (const std::uint64_t address : {std::uint64_t{0}, std::uint64_t{0x10}, ~std::uint64_t{0}}) {
        CHECK(known.at(address).object == "");
        CHECK(known.at(address).function == "");
    }
    const int on_the_stack = 0;
    CHECK(known.at(reinterpret_cast<std::uintptr_t>(&on_the_stack)).object == "");
}

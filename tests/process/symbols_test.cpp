#include "process/symbols.hpp"

#include <cstdint>
#include <cstdlib>

#include "support/catch.hpp"

using namespace prefork::process;

namespace {

template <class Function>
std::uint64_t address_of(Function* function) {
    return reinterpret_cast<std::uintptr_t>(function);
}

std::vector<symbol> symbols_at(std::uint64_t address) {
    const auto object = object_at(address);
    REQUIRE(object);
    symbols known;
    return known.at(*object, address);
}

__attribute__((noinline)) int not_exported(const std::string& text) {
    return static_cast<int>(text.size()) * 3;
}

}  // namespace

TEST_CASE("a function that the program does not export has its name and offset") {
    const auto found = symbols_at(address_of(&not_exported) + 1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].function == "(anonymous namespace)::not_exported(std::string const&)");
    CHECK(found[0].function_offset == 1);
    CHECK(found[0].object.find("symbols") != std::string::npos);
    CHECK(found[0].object_offset != 0);
    CHECK(function_at(address_of(&not_exported)) == found[0].function);
}

TEST_CASE("a function of a library has its name") {
    CHECK(symbols_at(address_of(&std::abort)).back().function.find("abort") != std::string::npos);
}

TEST_CASE("an object whose file is another one by now has no names that would be wrong") {
    auto object = object_at(address_of(&not_exported));
    REQUIRE(object);
    if (object->build_id.empty()) return;
    object->build_id.back() = static_cast<char>(object->build_id.back() ^ 1);
    symbols known;
    const auto found = known.at(*object, address_of(&not_exported) + 1);
    REQUIRE(found.size() == 1);
    CHECK(found[0].function == "");
    CHECK(found[0].file == "");
    CHECK(found[0].object == object->name);
}

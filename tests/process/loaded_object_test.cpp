#include "process/loaded_object.hpp"

#include <elf.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "process/elf_note.hpp"
#include "support/catch.hpp"

using namespace prefork::process;

namespace {

__attribute__((noinline)) int here() { return 1; }
std::uint64_t address_here() { return reinterpret_cast<std::uintptr_t>(&here); }

std::string note(std::uint32_t type, std::string name, std::string content) {
    const Elf64_Nhdr head{static_cast<Elf64_Word>(name.size()),
                          static_cast<Elf64_Word>(content.size()), type};
    const auto pad = [](std::string& text) { text.resize((text.size() + 3) / 4 * 4); };
    pad(name);
    pad(content);
    return std::string(reinterpret_cast<const char*>(&head), sizeof head) + name + content;
}

const std::string gnu{"GNU\0", 4};

}  // namespace

TEST_CASE("the program is found by an address in it, and by its build") {
    const auto found = object_at(address_here());
    REQUIRE(found);
    CHECK(found->path == "/proc/self/exe");
    CHECK(found->name.find("loaded_object") != std::string::npos);
    const loaded_object program = this_program();
    CHECK(program.name == found->name);
    CHECK(program.bias == found->bias);
    CHECK(program.holds(address_here()));
    if (program.build_id.empty()) return;  // the linker wasn't asked for one
    const auto again = object_of_build(program.build_id);
    REQUIRE(again);
    CHECK(again->name == program.name);
}

TEST_CASE("addresses in one object give it once, those without code give nothing") {
    const int on_the_stack = 0;
    const auto abort = reinterpret_cast<std::uintptr_t>(&std::abort);
    const std::uint64_t addresses[] = {address_here(),
                                       address_here() + 1,
                                       abort,
                                       0,
                                       0x10,
                                       ~std::uint64_t{0},
                                       reinterpret_cast<std::uintptr_t>(&on_the_stack)};
    CHECK(objects_with(addresses).size() == (object_at(abort)->holds(address_here()) ? 1 : 2));
    CHECK_FALSE(object_at(0x10));
    CHECK_FALSE(object_of_build(""));
    CHECK_FALSE(object_of_build("no such build"));
}

TEST_CASE("a build id is found behind other notes") {
    const std::string notes = note(NT_GNU_ABI_TAG, gnu, "12345") +
                              note(NT_GNU_BUILD_ID, "another", "no") +
                              note(NT_GNU_BUILD_ID, gnu, "\x01\x02\x03");
    CHECK(build_id_in(notes, 4) == "\x01\x02\x03");
    CHECK(hex_of(build_id_in(notes, 4)) == "010203");
    for (std::size_t size = 0; size < notes.size() - 4; ++size) {
        const std::string id = build_id_in(std::string_view{notes}.substr(0, size), 4);
        CHECK(id == "");
    }
}

TEST_CASE("no length in a note is believed") {
    std::string notes = note(NT_GNU_BUILD_ID, gnu, "id");
    for (const std::size_t field : {std::size_t{0}, sizeof(std::uint32_t)}) {
        std::string wrong = notes;
        std::memset(wrong.data() + field, 0xff, sizeof(std::uint32_t));
        CHECK(build_id_in(wrong, 4) == "");
    }
}

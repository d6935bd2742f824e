#include "process/loaded_object.hpp"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "process/elf_note.hpp"

namespace prefork::process {
namespace {

constexpr const char* program_path = "/proc/self/exe";
constexpr std::string_view deleted = " (deleted)";

std::string program_name() {
    std::array<char, 4096> target{};
    const ssize_t size = ::readlink(program_path, target.data(), target.size());
    std::string_view name{target.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
    if (name.ends_with(deleted)) name.remove_suffix(deleted.size());
    return name.empty() ? program_path : std::string(name);
}

loaded_object described(const dl_phdr_info& info) {
    loaded_object made;
    made.bias = info.dlpi_addr;
    for (const ElfW(Phdr) & part : std::span{info.dlpi_phdr, info.dlpi_phnum}) {
        const std::uint64_t begin = info.dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0) {
            made.begin = made.end == 0 ? begin : std::min(made.begin, begin);
            made.end = std::max(made.end, begin + part.p_memsz);
        }
        if (part.p_type == PT_NOTE && made.build_id.empty()) {
            made.build_id =
                build_id_in({reinterpret_cast<const char*>(begin), part.p_memsz}, part.p_align);
        }
    }
    return made;
}

/// Visits each; `wanted` says whether to keep it, and whether that was the last.
template <class Wanted>
std::vector<loaded_object> objects_where(Wanted wanted) {
    struct search {
        Wanted* wanted;
        std::vector<loaded_object> found;
    } state{&wanted, {}};
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* argument) {
            auto& to = *static_cast<search*>(argument);
            loaded_object made = described(*info);
            const bool is_program = info->dlpi_name[0] == '\0';
            if (!(*to.wanted)(made, is_program)) return 0;
            // The program itself has no name here.
            made.path = is_program ? program_path : info->dlpi_name;
            made.name = is_program ? program_name() : made.path;
            to.found.push_back(std::move(made));
            return 0;
        },
        &state);
    return std::move(state.found);
}

std::optional<loaded_object> first_of(std::vector<loaded_object>&& found) {
    if (found.empty()) return std::nullopt;
    return std::move(found.front());
}

}  // namespace

std::vector<loaded_object> objects_with(std::span<const std::uint64_t> addresses) {
    return objects_where([&](const loaded_object& each, bool) {
        return std::any_of(addresses.begin(), addresses.end(),
                           [&](std::uint64_t address) { return each.holds(address); });
    });
}

std::optional<loaded_object> object_at(std::uint64_t address) {
    return first_of(objects_with({&address, 1}));
}

std::optional<loaded_object> object_of_build(std::string_view build_id) {
    if (build_id.empty()) return std::nullopt;
    return first_of(
        objects_where([&](const loaded_object& each, bool) { return each.build_id == build_id; }));
}

loaded_object this_program() {
    auto found = objects_where([](const loaded_object&, bool is_program) { return is_program; });
    return first_of(std::move(found)).value_or(loaded_object{});
}

std::string hex_of(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const char each : bytes) {
        const auto byte = static_cast<unsigned char>(each);
        text += {digits[byte >> 4], digits[byte & 15]};
    }
    return text;
}

}  // namespace prefork::process

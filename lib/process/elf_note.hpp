#pragma once

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace prefork::process {

/// The build id among the notes of an ELF file or of a mapped object; "" when there is none.
/// Believes no length.
[[nodiscard]] inline std::string build_id_in(std::string_view notes, std::uint64_t alignment) {
    const std::uint64_t align = alignment == 8 ? 8 : 4;  // 0 and 1 mean 4 (elf(5))
    const auto padded = [align](std::uint64_t size) { return (size + align - 1) / align * align; };
    Elf64_Nhdr head{};
    while (notes.size() >= sizeof head) {
        std::memcpy(&head, notes.data(), sizeof head);
        notes.remove_prefix(sizeof head);
        const std::uint64_t name_size = padded(head.n_namesz);
        if (name_size > notes.size() || head.n_descsz > notes.size() - name_size) return {};
        const std::string_view name = notes.substr(0, head.n_namesz);
        const std::string_view content = notes.substr(name_size, head.n_descsz);
        if (head.n_type == NT_GNU_BUILD_ID && name == std::string_view{"GNU\0", 4}) {
            return std::string(content);
        }
        notes.remove_prefix(
            std::min<std::uint64_t>(name_size + padded(head.n_descsz), notes.size()));
    }
    return {};
}

}  // namespace prefork::process

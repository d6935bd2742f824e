#include "pool/function_check.hpp"

#include <link.h>

#include <algorithm>

namespace prefork::detail {

function_check::function_check() {
    ::dl_iterate_phdr(
        [](dl_phdr_info* object, std::size_t, void* into) {
            auto& segments = *static_cast<std::vector<segment>*>(into);
            for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
                const auto& header = object->dlpi_phdr[i];
                if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
                const std::uintptr_t first = object->dlpi_addr + header.p_vaddr;
                segments.push_back({first, first + header.p_memsz});
            }
            return 0;
        },
        &segments_);
}

bool function_check::look_up(std::uintptr_t code) noexcept {
    const bool known = std::any_of(segments_.begin(), segments_.end(), [&](const segment& each) {
        return code >= each.first && code < each.last;
    });
    if (known) found_[place_of(code)] = code;
    return known;
}

}  // namespace prefork::detail

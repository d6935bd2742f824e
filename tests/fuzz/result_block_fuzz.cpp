// Where a result lies, as a worker says: inside of its part, behind a header, or nowhere.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "memory/offset.hpp"
#include "memory/result_arena.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    alignas(64) static std::byte part[4096];
    std::uint64_t from = 0;
    std::uint64_t bytes = 0;
    if (size < 2 * sizeof from) return 0;
    std::memcpy(&from, data, sizeof from);
    std::memcpy(&bytes, data + sizeof from, sizeof bytes);
    data += 2 * sizeof from;
    size -= 2 * sizeof from;
    std::memcpy(part, data, std::min(size, sizeof part));
    for (const std::uint64_t at : {from, from % sizeof part, from % sizeof part / 64 * 64}) {
        for (const std::uint64_t length : {bytes, bytes % (2 * sizeof part)}) {
            const auto found = prefork::memory::checked_result(part, at, length);
            if (!found) continue;
            if (found->size() != length || found->data() < part + 64 ||
                found->data() + found->size() > part + sizeof part) {
                std::abort();
            }
            std::byte sum{};
            for (const std::byte each : *found) sum ^= each;
            volatile std::byte read = sum;
            static_cast<void>(read);
            prefork::memory::release_result(found->data());
        }
    }
    return 0;
}

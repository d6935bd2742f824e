// A worker's log ring, written over between two looks of the host.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "log/log_ring.hpp"

using namespace prefork::logging;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto ring = std::make_unique<log_ring>();
    log_reader reader{*ring};
    reader.reset();
    std::vector<log_line> lines;
    // A step: how far `written` moves, as its own or any number; how much of the ring changes.
    while (size >= 11) {
        std::uint64_t by = 0;
        std::memcpy(&by, data + 1, sizeof by);
        const std::size_t bytes = std::min<std::size_t>(data[9] * 16u, size - 11);
        const std::uint64_t written = ring->written.load();
        for (std::size_t i = 0; i < bytes; ++i) {
            ring->bytes[(written + i) % log_ring::capacity] = std::byte{data[11 + i]};
        }
        ring->written.store(data[0] % 2 == 0 ? written + by % (2 * log_ring::capacity) : by);
        ring->dropped.store(data[10]);
        if (data[0] % 3 == 0) static_cast<void>(reader.fall_asleep());
        reader.take(lines);
        data += 11 + bytes;
        size -= 11 + bytes;
    }
    for (const log_line& each : lines) {
        if (each.text.size() > longest_line || each.label.size() > 255) std::abort();
    }
    return 0;
}

// What a worker left of its crash: signal, address and frames may be any numbers.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "process/crash_report.hpp"

using namespace prefork::process;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto record = std::make_unique<crash_record>();
    constexpr pid_t pid = 7;
    std::memset(static_cast<void*>(record.get()), 0, sizeof *record);
    std::memcpy(static_cast<void*>(record.get()), data, std::min(size, sizeof *record));
    const prefork::ring::slot_word run{record->traced.load()};
    if (const auto trace = read_trace(*record, run)) {
        if (trace->frames.size() > crash_record::most_frames) std::abort();
    }
    record->pid.store(pid);
    const auto crash = read_crash(*record, pid);
    if (!crash) return 0;
    if (crash->frames.size() > crash_record::most_frames) std::abort();
    // Symbols take milliseconds: of some.
    if (size % 16 != 0) return 0;
    static_cast<void>(symbolise(*crash));
    static_cast<void>(describe_end(CLD_KILLED, crash->signal, crash));
    return 0;
}

#pragma once

namespace prefork::bench {

/// Says to the processor that a loop only waits.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

template <class Condition>
void spin_until(Condition condition) {
    while (!condition()) relax();
}

}  // namespace prefork::bench

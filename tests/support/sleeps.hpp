#pragma once

#include <sys/types.h>

#include <fstream>
#include <string>

namespace prefork::test {

/// Does this thread of ours sleep in a futex call? Asked by a test that is about to end what it
/// sleeps on.
[[nodiscard]] inline bool sleeps(pid_t thread) {
    if (thread == 0) return false;
    std::string state;
    std::ifstream{"/proc/self/task/" + std::to_string(thread) + "/stat"} >> state >> state >> state;
    return state == "S";
}

}  // namespace prefork::test

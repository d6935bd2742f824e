#pragma once

#include <sys/types.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

// Who lives below whom, and who sleeps, as /proc tells it.

namespace prefork::test {

/// Of a process with one thread; zombies too.
[[nodiscard]] inline std::vector<pid_t> children_of(pid_t pid) {
    const std::string number = std::to_string(pid);
    std::ifstream list{"/proc/" + number + "/task/" + number + "/children"};
    return {std::istream_iterator<pid_t>{list}, {}};
}

/// 'S' asleep, 'R' running, 'Z' dead and not reaped, 't' stopped by a debugger; '-' for none.
[[nodiscard]] inline char state_of(pid_t pid, pid_t thread) {
    std::ifstream file{"/proc/" + std::to_string(pid) + "/task/" + std::to_string(thread) +
                       "/stat"};
    std::string line;
    std::getline(file, line);
    // "pid (name) state …", where the name may hold anything.
    const auto name_end = line.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= line.size() ? '-' : line[name_end + 2];
}
[[nodiscard]] inline char state_of(pid_t pid) { return state_of(pid, pid); }

/// Dead, and reaped.
[[nodiscard]] inline bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

/// Dead; whether its parent has reaped it is the parent's affair.
[[nodiscard]] inline bool has_ended(pid_t pid) {
    const char state = state_of(pid);
    return state == '-' || state == 'Z' || state == 'X';
}

}  // namespace prefork::test

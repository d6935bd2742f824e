#pragma once

#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "support/in_child.hpp"

// Many cases that mostly wait, each in a process of its own, some at a time.

namespace prefork::test {

/// Zeroed memory that this process shares with its children; unmapped by nobody.
template <class T>
[[nodiscard]] T* shared_with_children(std::size_t how_many) {
    void* const memory = ::mmap(nullptr, sizeof(T) * how_many, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return static_cast<T*>(memory);
}

/// What a child found wrong, in memory that is shared with it.
struct complaints {
    char text[4000];

    void say(const std::string& what) {
        const std::size_t used = std::strlen(text);
        what.copy(text + used, std::min(what.size(), sizeof text - used - 1));
    }
};

/// Calls `each(i)` for every i below `how_many`, in children; how each ended, as wait(2) says it: 0
/// when it came to its end, for it may have crashed before it found anything. SIGALRM ends one that
/// takes more than two minutes. Nobody else's child may end meanwhile.
template <class Each>
[[nodiscard]] std::vector<int> run_side_by_side(std::size_t how_many, std::size_t at_once,
                                                Each each) {
    constexpr unsigned longest_seconds = 120;
    std::vector<int> ends(how_many, -1);
    std::map<pid_t, std::size_t> running;
    for (std::size_t next = 0; next < how_many || !running.empty();) {
        if (next < how_many && running.size() < at_once) {
            const pid_t runner = fork_child([&] {
                ::alarm(longest_seconds);
                each(next);
                return 0;
            });
            running[runner] = next++;
            continue;
        }
        int status = -1;
        const auto ended = running.find(base::checked(::waitpid(-1, &status, 0), "waitpid"));
        if (ended == running.end()) continue;
        ends[ended->second] = status;
        running.erase(ended);
    }
    return ends;
}

}  // namespace prefork::test

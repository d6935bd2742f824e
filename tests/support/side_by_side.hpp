#pragma once

#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>

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

/// Calls `each(i)` for every i below `how_many`, in children, and returns when they have ended.
/// Nobody else's child may end meanwhile.
template <class Each>
void run_side_by_side(std::size_t how_many, std::size_t at_once, Each each) {
    std::map<pid_t, std::size_t> running;
    for (std::size_t next = 0; next < how_many || !running.empty();) {
        if (next < how_many && running.size() < at_once) {
            const pid_t runner = fork_child([&] {
                each(next);
                return 0;
            });
            running[runner] = next++;
            continue;
        }
        running.erase(::waitpid(-1, nullptr, 0));
    }
}

}  // namespace prefork::test

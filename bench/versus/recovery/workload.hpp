#pragma once

#include "bench/versus/support/turn.hpp"

// The only worker is killed (SIGKILL) while it runs a task: how long until the next task starts.
// That the killed one was lost, and the next one ran, is for each peer to see.

namespace prefork::versus {

/// `recover()` returns nanoseconds.
template <class Recover>
int measure(int argc, char** argv, Recover recover) {
    turn mine{argc, argv};
    recover();  // what is made at the first time
    return mine.run(recover);
}

}  // namespace prefork::versus

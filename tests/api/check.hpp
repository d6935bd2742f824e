#pragma once

#include <cstdio>
#include <cstdlib>

/// For programs that are a user's and not a test framework's.
inline void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "not true: %s\n", what);
    std::exit(1);
}

#pragma once

#include <cstdlib>
#include <string>

// What the compiler's own tools write when a program ends, by functions that live in the program
// that they were linked into, not in the library: so their addresses are taken here. A program
// built without these tools has none of them.

// gcc's and clang's gcov, clang's source-based coverage.
extern "C" {
__attribute__((weak)) void __gcov_exit();
__attribute__((weak)) void __gcov_dump();
__attribute__((weak)) void __gcov_reset();
__attribute__((weak)) int __llvm_profile_write_file();
__attribute__((weak)) void __llvm_profile_reset_counters();
__attribute__((weak)) void __llvm_profile_set_filename(const char*);
}

namespace prefork::detail {

/// What a worker calls for the program that made its pool; each may be nullptr.
struct exit_data {
    /// At its start: what the host had counted is the host's to write.
    void (*reset)() = nullptr;
    /// Before its `_exit`.
    void (*write)() = nullptr;
};

// Without %p or %m every process would write the same file. clang looks at a name only when it is
// another one than before.
__attribute__((visibility("hidden"))) inline void name_profile_of_worker() {
    const char* const asked = std::getenv("LLVM_PROFILE_FILE");
    std::string name = asked != nullptr ? asked : "default.profraw";
    const auto percent = name.find('%');
    if (percent == std::string::npos || name.find_first_of("pm", percent) == std::string::npos) {
        name += ".%p";
    }
    __llvm_profile_set_filename("default.profraw");
    __llvm_profile_set_filename(name.c_str());
}

/// Hidden: each program and library asks for its own.
[[nodiscard]] __attribute__((visibility("hidden"))) inline exit_data exit_data_here() noexcept {
    if (__llvm_profile_write_file == nullptr) {
        return {__gcov_reset, __gcov_exit != nullptr ? __gcov_exit : __gcov_dump};
    }
    return {[] {
                __llvm_profile_reset_counters();
                name_profile_of_worker();
            },
            [] { static_cast<void>(__llvm_profile_write_file()); }};
}

}  // namespace prefork::detail

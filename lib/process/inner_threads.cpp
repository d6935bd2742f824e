#include "process/inner_threads.hpp"

#include <dlfcn.h>

#include <initializer_list>

namespace prefork::process {
namespace {

template <class Function>
Function* found(const char* name) noexcept {
    return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

}  // namespace

void release_inner_threads(unsigned allowed) noexcept {
    if (allowed < 2) return;
    // LLVM's and Intel's OpenMP begin anew in a forked child by themselves, and LLVM 14's doesn't
    // survive a fork after a hard pause (assertion in kmp_settings.cpp).
    if (found<void()>("__kmpc_fork_call") != nullptr) return;
    constexpr int hard = 2;  // omp_pause_hard: threads too. Refused, and needless, in a region.
    if (auto* const pause = found<int(int)>("omp_pause_resource_all")) pause(hard);
}

void limit_inner_threads(unsigned threads) noexcept {
    for (const char* name : {"omp_set_num_threads", "openblas_set_num_threads",
                             "MKL_Set_Num_Threads", "blis_thread_set_num_threads"}) {
        if (auto* const set = found<void(int)>(name)) set(static_cast<int>(threads));
    }
}

}  // namespace prefork::process

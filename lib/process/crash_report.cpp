#include "process/crash_report.hpp"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <string_view>

#include "base/fail_point.hpp"
#include "base/tick.hpp"
#include "process/symbols.hpp"

namespace prefork::process {
namespace {

constexpr std::array watched_signals{SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};

// Of this worker. A handler gets nothing else to find them by.
crash_record* own_record = nullptr;
const std::atomic<std::uint64_t>* own_run = nullptr;
pid_t owner = 0;
std::atomic<pid_t> crashed_thread{0};
std::atomic<int> crash_signal{0};
std::uint64_t page_size = 0;
static_assert(std::atomic<pid_t>::is_always_lock_free);

pid_t this_thread() noexcept { return static_cast<pid_t>(::syscall(SYS_gettid)); }

[[noreturn]] void die_of(int signal) noexcept {
    ::signal(signal, SIG_DFL);
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, signal);
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), this_thread(), signal);
    ::_exit(128 + signal);
}

void give_up(int) { die_of(crash_signal.load(std::memory_order_relaxed)); }

/// Where the thread was; 0 where this machine's way to tell is not known here.
struct position {
    std::uintptr_t pc = 0;
    std::uintptr_t stack = 0;  ///< where a call leaves its return address, on machines that do
    std::uintptr_t link = 0;   ///< the return address itself, on the others
};

position position_of(const void* context) noexcept {
    [[maybe_unused]] const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return {static_cast<std::uintptr_t>(machine.gregs[REG_RIP]),
            static_cast<std::uintptr_t>(machine.gregs[REG_RSP]), 0};
#elif defined(__aarch64__)
    return {machine.pc, 0, machine.regs[30]};
#else
    return {};
#endif
}

void add_frame(crash_record& record, std::uintptr_t at) noexcept {
    const std::uint32_t count = record.frame_count.load(std::memory_order_relaxed);
    if (count >= crash_record::most_frames) return;
    record.frames[count].store(at, std::memory_order_relaxed);
    record.frame_count.store(count + 1, std::memory_order_release);
}

struct walk {
    crash_record& record;
    std::uintptr_t pc;    // 0: unknown on this machine, so every frame counts
    bool inside = false;  // past the frames of the handler
};

// Each frame goes into the record as it is found: what comes before a fault in the walk is kept.
_Unwind_Reason_Code visit_frame(_Unwind_Context* frame, void* argument) {
    auto& state = *static_cast<walk*>(argument);
    int before_instruction = 0;
    const std::uintptr_t at = _Unwind_GetIPInfo(frame, &before_instruction);
    if (at == 0) return _URC_END_OF_STACK;
    if (!state.inside && (state.pc == 0 || at == state.pc)) state.inside = true;
    // A return address is that of the next instruction, perhaps already of the next function.
    if (state.inside) add_frame(state.record, before_instruction != 0 ? at : at - 1);
    const bool full =
        state.record.frame_count.load(std::memory_order_relaxed) == crash_record::most_frames;
    return full ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/// As private_memory(), by system calls alone; 0 when /proc isn't there.
std::uint64_t private_bytes_here() noexcept {
    const int kept_errno = errno;
    char text[128] = {};
    const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    const ssize_t size = file < 0 ? -1 : ::read(file, text, sizeof text - 1);
    if (file >= 0) ::close(file);
    errno = kept_errno;
    // Pages: all, resident, shared, …
    std::uint64_t numbers[3] = {};
    std::size_t field = 0;
    for (ssize_t i = 0; i < size && field < std::size(numbers); ++i) {
        if (text[i] < '0' || text[i] > '9') {
            ++field;
        } else {
            numbers[field] = numbers[field] * 10 + static_cast<unsigned>(text[i] - '0');
        }
    }
    if (numbers[1] < numbers[2]) return 0;
    return (numbers[1] - numbers[2]) * page_size;
}

void note_signal(crash_record& record, int signal, const siginfo_t& info) noexcept {
    const bool sent = info.si_code <= 0;
    record.signal.store(signal, std::memory_order_relaxed);
    record.code.store(info.si_code, std::memory_order_relaxed);
    record.sender.store(sent ? info.si_pid : 0, std::memory_order_relaxed);
    record.address.store(sent ? 0 : reinterpret_cast<std::uintptr_t>(info.si_addr),
                         std::memory_order_relaxed);
    record.frame_count.store(0, std::memory_order_relaxed);
    record.ended.store(base::ticks(), std::memory_order_relaxed);
    record.memory.store(private_bytes_here(), std::memory_order_relaxed);
    record.pid.store(owner, std::memory_order_release);
}

void note_frames(crash_record& record, const siginfo_t& info, const position& where) noexcept {
    // A jump to where no code is, through a null function pointer most of the time: there is
    // nothing to unwind from, but the return address lies where the call has put it.
    if (info.si_code > 0 && reinterpret_cast<std::uintptr_t>(info.si_addr) == where.pc &&
        info.si_signo == SIGSEGV) {
        add_frame(record, where.pc);
        if (where.link != 0) add_frame(record, where.link - 1);
        if (where.stack != 0)
            add_frame(record, *reinterpret_cast<std::uintptr_t*>(where.stack) - 1);
        return;
    }
    walk state{record, where.pc};
    _Unwind_Backtrace(visit_frame, &state);
}

// What is called here is async-signal-safe by the letter (signal-safety(7)), but for the unwinder.
// That one allocates nothing, and with gcc 12's libgcc and glibc 2.35, which find an object's
// tables by _dl_find_object (async-signal-safe, says its manual), it takes no lock either: a test
// crashes while other threads hold the loader's lock and malloc's. An older libgcc waits for the
// loader's lock, and any for its own once a program has registered frames of code that it made at
// run time. So here it may fail: a fault in it comes back as a second signal of this thread, a
// deadlock ends with the alarm, and what was noted until then stays. (A walk along frame pointers
// would need nobody; but libraries and optimised programs have none, so it would end at the first
// frame.)
void on_crash(int signal, siginfo_t* info, void* context) {
    if (::getpid() != owner) die_of(signal);  // a process that a task forked: not our story
    pid_t first = 0;
    if (!crashed_thread.compare_exchange_strong(first, this_thread(), std::memory_order_acq_rel)) {
        if (first == this_thread()) die_of(crash_signal.load(std::memory_order_relaxed));
        for (;;) ::pause();  // that thread's signal ends us all
    }
    crash_signal.store(signal, std::memory_order_relaxed);
    note_signal(*own_record, signal, *info);
    base::fail_point::pass("crash.signal_noted");

    struct sigaction bound {};
    bound.sa_handler = give_up;
    bound.sa_flags = SA_ONSTACK;
    ::sigaction(SIGALRM, &bound, nullptr);
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, SIGALRM);
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
    ::alarm(1);

    note_frames(*own_record, *info, position_of(context));
    base::fail_point::pass("crash.frames_noted");
    die_of(signal);
}

// The same walk in a task that goes on afterwards. If it interrupts something that the unwinder
// waits for, the task hangs for good; but it was late, and is about to be killed for it.
void on_trace(int, siginfo_t*, void* context) {
    const std::uint64_t run = own_run->load(std::memory_order_relaxed);
    if (::getpid() != owner || run == 0 || crashed_thread.load(std::memory_order_relaxed) != 0)
        return;
    const int kept_errno = errno;
    own_record->frame_count.store(0, std::memory_order_relaxed);
    walk state{*own_record, position_of(context).pc};
    _Unwind_Backtrace(visit_frame, &state);
    base::fail_point::pass("crash.before_trace_told");
    own_record->traced.store(run, std::memory_order_release);
    errno = kept_errno;
}

// Never unmapped: it is needed until the last instruction. A page without access lies below it.
void make_handler_stack() noexcept {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    // What the kernel saves (AVX-512: more than the 2048 of MINSIGSTKSZ), and the unwinder's needs.
    std::size_t size = (::getauxval(AT_MINSIGSTKSZ) + 64 * 1024 + page - 1) / page * page;
    void* const memory = base::fail_point::refused("crash.mmap")
                             ? MAP_FAILED
                             : ::mmap(nullptr, size + page, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) return;  // then an overflow of the stack is not told
    if (!base::fail_point::refused("crash.mprotect")) ::mprotect(memory, page, PROT_NONE);
    stack_t stack{};
    stack.ss_sp = static_cast<char*>(memory) + page;
    stack.ss_size = size;
    if (base::fail_point::refused("crash.sigaltstack")) return;
    ::sigaltstack(&stack, nullptr);
}

}  // namespace

void watch_crashes(crash_record& record, const std::atomic<std::uint64_t>& running) noexcept {
    own_record = &record;
    own_run = &running;
    owner = ::getpid();
    page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    record.pid.store(0, std::memory_order_relaxed);
    // The unwinder's own first-time work is done here and not in the handler.
    walk rehearsal{record, 1};
    _Unwind_Backtrace(visit_frame, &rehearsal);
    record.frame_count.store(0, std::memory_order_relaxed);
    make_handler_stack();
    struct sigaction action {};
    action.sa_sigaction = on_crash;
    // A fault inside the handler comes back to it, or, if it is the same signal, ends us as that.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (const int signal : watched_signals) ::sigaction(signal, &action, nullptr);
    action.sa_sigaction = on_trace;
    action.sa_flags |= SA_RESTART;
    ::sigaction(trace_signal, &action, nullptr);
}

namespace {

void copy_frames(const crash_record& record, crash& to) {
    const std::size_t count = std::min<std::size_t>(
        record.frame_count.load(std::memory_order_acquire), crash_record::most_frames);
    to.frames.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        to.frames.push_back(record.frames[i].load(std::memory_order_relaxed));
    }
    to.objects = objects_with(to.frames);
}

}  // namespace

std::optional<crash> read_trace(const crash_record& record, ring::slot_word run) {
    const ring::slot_word traced{record.traced.load(std::memory_order_acquire)};
    if (!ring::same_run(traced, run)) return std::nullopt;
    crash copy;
    copy_frames(record, copy);
    return copy;
}

std::optional<crash> read_crash(const crash_record& record, pid_t pid) {
    if (record.pid.load(std::memory_order_acquire) != pid || pid == 0) return std::nullopt;
    crash copy;
    copy.signal = record.signal.load(std::memory_order_relaxed);
    copy.code = record.code.load(std::memory_order_relaxed);
    copy.sender = record.sender.load(std::memory_order_relaxed);
    copy.address = record.address.load(std::memory_order_relaxed);
    if (copy.signal <= 0 || copy.signal >= NSIG) return std::nullopt;
    copy.ended = record.ended.load(std::memory_order_relaxed);
    copy.memory = record.memory.load(std::memory_order_relaxed);
    copy_frames(record, copy);
    return copy;
}

namespace {

std::string hex(std::uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

std::string name_of_signal(int signal) {
    const char* const name = ::sigabbrev_np(signal);
    return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

bool is_run_time_library(std::string_view object) {
    const auto slash = object.rfind('/');
    const std::string_view file = slash == object.npos ? object : object.substr(slash + 1);
    for (const std::string_view each : {"libc.", "libstdc++.", "libgcc_s.", "libpthread.", "ld-",
                                        "libc++.", "libc++abi.", "linux-vdso.", "libm."}) {
        if (file.substr(0, each.size()) == each) return true;
    }
    return false;
}

bool is_standard(const symbol& found) {
    return is_run_time_library(found.object) || found.function.rfind("std::", 0) == 0 ||
           found.function.rfind("__gnu_cxx::", 0) == 0;
}

/// Between the worker's loop and the task. The demangled name of a template function begins with
/// its result.
bool is_way_to_task(const symbol& found) {
    std::string_view name = found.function;
    if (constexpr std::string_view deduced = "decltype(auto) "; name.starts_with(deduced)) {
        name.remove_prefix(deduced.size());
    }
    for (const std::string_view each :
         {"prefork::process::worker_loop::", "prefork::detail::invoke<",
          "prefork::detail::call_task<", "prefork::detail::map_chunk<",
          "prefork::detail::pool_core::", "std::invoke<", "std::invoke_result<", "std::__invoke<",
          "std::__invoke_impl<", "std::__invoke_result<", "std::apply<", "std::__apply_impl<"}) {
        const auto at = name.find(each);
        // Not in an argument of something else.
        if (at != name.npos && name.find_first_of("<(") >= at) return true;
    }
    return false;
}

struct traced {
    std::uint64_t address = 0;
    symbol what;
};

// One at a time in a process: libdw, and the memory that it takes.
std::vector<traced> trace_of(const crash& what) {
    static std::mutex one_at_a_time;
    const std::lock_guard held{one_at_a_time};
    symbols known;
    std::vector<traced> trace;
    for (const std::uint64_t frame : what.frames) {
        const auto object = std::find_if(what.objects.begin(), what.objects.end(),
                                         [&](const auto& each) { return each.holds(frame); });
        if (object == what.objects.end()) {
            trace.push_back({frame, {}});
            continue;
        }
        bool is_end = false;
        for (symbol& each : known.at(*object, frame)) {
            // From here on it is the way from main() to any task.
            is_end |= each.function.rfind("prefork::process::worker_loop::call_task(", 0) == 0;
            if (!is_end) trace.push_back({frame, std::move(each)});
        }
        if (!is_end) continue;
        const auto task = std::find_if_not(trace.rbegin(), trace.rend(), [](const traced& each) {
            return is_way_to_task(each.what);
        });
        // All of it, where the task itself was put into what calls it and has no name any more.
        if (task != trace.rend()) trace.erase(task.base(), trace.end());
        break;
    }
    return trace;
}

// A non-canonical address has no si_addr on x86: SI_KERNEL, and 0.
bool has_address(const crash& what) {
    return what.code > 0 && what.code != SI_KERNEL &&
           (what.signal == SIGSEGV || what.signal == SIGBUS);
}

}  // namespace

std::string symbolise(const crash& what) {
    std::string text;
    for (const auto& [address, found] : trace_of(what)) {
        if (!text.empty()) text += '\n';
        text += found.function;
        if (!found.function.empty() && !found.inlined) text += " +" + hex(found.function_offset);
        if (!found.file.empty()) text += " at " + found.file + ":" + std::to_string(found.line);
        if (!text.empty() && text.back() != '\n') text += ' ';
        if (found.inlined) {
            text += "(inlined)";
        } else {
            text += found.object.empty()
                        ? hex(address) + " (no code)"
                        : "(" + found.object + " +" + hex(found.object_offset) + ")";
        }
    }
    return text;
}

std::string describe_end(int code, int status, const std::optional<crash>& left) {
    if (code == 0) return "nobody could tell how it ended";
    if (code == CLD_EXITED) return "exit status " + std::to_string(status);
    std::string text = name_of_signal(status);
    // Something else may have ended it while it wrote its record.
    if (left && left->signal == status && has_address(*left)) text += " at " + hex(left->address);
    return text;
}

std::string describe_place(const crash& what) {
    for (const auto& [address, found] : trace_of(what)) {
        if (found.function.empty() || is_standard(found)) continue;
        std::string text = " in " + found.function;
        if (!found.file.empty()) {
            text += ", " + std::filesystem::path{found.file}.filename().string() + ":" +
                    std::to_string(found.line);
        }
        return text;
    }
    return {};
}

}  // namespace prefork::process

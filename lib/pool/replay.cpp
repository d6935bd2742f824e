#include "pool/replay.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "base/system_call.hpp"
#include "base/unique_fd.hpp"
#include "pool/core.hpp"
#include "pool/shared_block.hpp"
#include "pool/task_file.hpp"
#include "prefork/error.hpp"
#include "process/identity.hpp"
#include "process/loaded_object.hpp"

// A saved task, run here in the foreground: for a debugger, which then sees one process without
// shared memory, and for valgrind.

namespace prefork::detail {
namespace {

enum status : int { returned = 0, threw = 1, refused = 2 };

std::vector<std::byte> read_file(const std::string& path) {
    const base::unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!file) base::throw_system_error(errno, "open");
    struct stat about {};
    base::checked(::fstat(file.get(), &about), "fstat");
    if (!S_ISREG(about.st_mode)) throw decode_error("it is not a file");
    std::vector<std::byte> bytes(static_cast<std::size_t>(about.st_size));
    for (std::size_t at = 0; at < bytes.size();) {
        const ssize_t got = ::read(file.get(), bytes.data() + at, bytes.size() - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) base::throw_system_error(errno, "read");
        if (got == 0) throw decode_error("it ends too early");
        at += static_cast<std::size_t>(got);
    }
    return bytes;
}

void require_this_program(const saved_task& task) {
    const process::loaded_object here = process::this_program();
    if (here.build_id == task.program_build && !here.build_id.empty()) return;
    throw error("it was saved by build " + process::hex_of(task.program_build) + " of " +
                task.program + ", and this is build " + process::hex_of(here.build_id) + " of " +
                here.name);
}

std::uint64_t address_of(const code_place& place) {
    const auto object = process::object_of_build(place.build_id);
    if (!object) {
        throw error("its function lies in build " + process::hex_of(place.build_id) + " of " +
                    place.object + ", which is not loaded when the pool is made");
    }
    const std::uint64_t address = object->bias + place.offset;
    if (!object->holds(address)) throw decode_error("its function is not in " + place.object);
    return address;
}

/// An array for the task to read, and, as in a worker, not to write.
shared_ref make_array(std::span<const std::byte> content) {
    const std::size_t size = std::max<std::size_t>(content.size(), 1);
    void* const memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) base::throw_system_error(errno, "mmap for an array");
    if (!content.empty()) std::memcpy(memory, content.data(), content.size());
    base::checked(::mprotect(memory, size, PROT_READ), "mprotect for an array");
    return lend(static_cast<std::byte*>(memory), content.size());
}

/// A task that can be called here: what its arguments name is where they say.
struct ready_task {
    explicit ready_task(const saved_task& task)
        : function(reinterpret_cast<invoker>(address_of(task.function))),
          arguments(task.arguments.begin(), task.arguments.end()) {
        if (task.code) write(*task.code_at, address_of(*task.code));
        for (const auto& each : task.arrays) arrays.push_back(make_array(each));
        for (const auto& each : task.array_places) {
            write(each.at, reinterpret_cast<std::uint64_t>(arrays[each.array].data()));
        }
    }

    invoker function;
    std::vector<std::byte> arguments;
    std::vector<shared_ref> arrays;

  private:
    void write(std::uint64_t at, std::uint64_t address) {
        std::memcpy(arguments.data() + at, &address, sizeof address);
    }
};

std::string quoted(const std::string& label) { return label.empty() ? "" : "'" + label + "' "; }

int tell_failure(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& e) {
        const auto* const task = dynamic_cast<const task_error*>(&e);
        const std::string type = task != nullptr ? task->type_name() + ": " : "";
        std::fprintf(stderr, "prefork: it threw %s%s\n", type.c_str(), e.what());
    }
    return threw;
}

}  // namespace

const char* replay_file() noexcept {
    if (process::current_role() == process::role::worker) return nullptr;
    const char* const path = std::getenv("PREFORK_REPLAY");
    return path != nullptr && *path != '\0' ? path : nullptr;
}

// It ends by exit(), so what the program's tools write at its end is written.
void pool_core::replay(const char* from) {
    const std::string path = from;
    ::unsetenv("PREFORK_REPLAY");  // it is not meant for programs that the task starts
    const char* step = "can't replay";
    try {
        const std::vector<std::byte> bytes = read_file(path);
        const saved_task task = read_task(bytes);
        require_this_program(task);
        const ready_task ready{task};
        std::fprintf(stderr, "prefork: replaying %s%s from %s\nprefork: it was: %s\n",
                     quoted(task.label).c_str(), task.name.c_str(), path.c_str(),
                     task.what.c_str());
        step = "on_worker_start threw; can't replay";
        if (options_.on_worker_start) options_.on_worker_start();
        step = "failed to replay";
        process::task_context context{task.seed, task.number};
        outcome result;
        std::size_t too_large = 0;
        call_here(ready.function, ready.arguments, context, result, too_large);
        if (too_large != 0) result.failure_ = no_room_for(task.number, too_large);
        if (result.failure_) std::exit(tell_failure(result.failure_));
        std::fputs("prefork: it returned, and did not fail\n", stderr);
        std::exit(returned);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "prefork: %s %s: %s\n", step, path.c_str(), e.what());
        std::exit(refused);
    }
}

}  // namespace prefork::detail

#include "pool/task_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/system_call.hpp"
#include "base/unique_fd.hpp"
#include "prefork/error.hpp"

namespace prefork::detail {
namespace {

constexpr std::string_view magic = "prefork task";
constexpr std::uint32_t version = 1;
constexpr std::uint64_t nowhere = ~std::uint64_t{0};

class writer {
  public:
    void bytes(std::string_view raw) { out_ += raw; }
    void number32(std::uint32_t value) { number(value, 4); }
    void number64(std::uint64_t value) { number(value, 8); }
    void text(std::string_view value) {
        number64(value.size());
        bytes(value);
    }
    void place(const code_place& value) {
        text(value.object);
        text(value.build_id);
        number64(value.offset);
    }
    [[nodiscard]] const std::string& all() const noexcept { return out_; }

  private:
    void number(std::uint64_t value, int size) {
        for (int i = 0; i < size; ++i) out_ += static_cast<char>(value >> (8 * i));
    }
    std::string out_;
};

class reader {
  public:
    explicit reader(std::span<const std::byte> from) noexcept : rest_(from) {}

    std::span<const std::byte> take(std::uint64_t size) {
        if (size > rest_.size()) throw decode_error("it ends too early");
        const auto taken = rest_.first(static_cast<std::size_t>(size));
        rest_ = rest_.subspan(taken.size());
        return taken;
    }
    std::uint32_t number32() { return static_cast<std::uint32_t>(number(4)); }
    std::uint64_t number64() { return number(8); }
    /// Of things that take at least `each` bytes.
    std::uint64_t count(std::uint64_t each) {
        const std::uint64_t value = number64();
        if (value > rest_.size() / each) throw decode_error("it ends too early");
        return value;
    }
    std::string text() {
        const auto bytes = take(number64());
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    code_place place() {
        code_place read;
        read.object = text();
        read.build_id = text();
        read.offset = number64();
        return read;
    }
    void finish() const {
        if (!rest_.empty()) throw decode_error("there is more behind its end");
    }

  private:
    std::uint64_t number(unsigned size) {
        std::uint64_t value = 0;
        const auto bytes = take(size);
        for (unsigned i = 0; i < size; ++i) {
            value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
        }
        return value;
    }
    std::span<const std::byte> rest_;
};

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string encode_head(const saved_task& task) {
    writer to;
    to.bytes(magic);
    to.number32(version);
    to.text(task.program);
    to.text(task.program_build);
    to.place(task.function);
    to.number64(task.code ? 1 : 0);
    if (task.code) to.place(*task.code);
    to.text(task.name);
    to.text(task.label);
    to.number64(task.seed);
    to.number64(task.number);
    to.number64(task.attempt);
    to.number64(static_cast<std::uint64_t>(task.timeout.count()));
    to.text(task.what);
    to.text(task.stack_trace);
    to.number64(task.code_at.value_or(nowhere));
    to.text(as_text(task.arguments));
    to.number64(task.array_places.size());
    for (const auto& each : task.array_places) {
        to.number64(each.at);
        to.number64(each.array);
    }
    to.number64(task.arrays.size());
    for (const auto& each : task.arrays) to.number64(each.size());
    return to.all();
}

void check_places(const saved_task& task) {
    const std::uint64_t size = task.arguments.size();
    const auto fits = [size](std::uint64_t at, std::uint64_t bytes) {
        return at % sizeof(std::uint64_t) == 0 && at <= size && bytes <= size - at;
    };
    if (task.code.has_value() != task.code_at.has_value() ||
        (task.code_at && !fits(*task.code_at, sizeof(std::uint64_t)))) {
        throw decode_error("its function lies outside of its arguments");
    }
    for (const auto& each : task.array_places) {
        if (each.array >= task.arrays.size() || !fits(each.at, 2 * sizeof(std::uint64_t))) {
            throw decode_error("an array lies outside of its arguments");
        }
    }
}

}  // namespace

void write_task_file(const std::string& path, const saved_task& task) {
    const std::string temporary = path + "." + std::to_string(::getpid()) + ".part";
    const auto fail = [&](const char* what, int error) {
        ::unlink(temporary.c_str());
        base::throw_system_error(error, path + ": " + what);
    };
    ::unlink(temporary.c_str());  // of a process of this number that died here
    base::unique_fd file{::open(temporary.c_str(),
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                S_IRUSR | S_IWUSR)};
    if (!file) fail("open", errno);
    const std::string head = encode_head(task);
    bool written = base::write_all(file.get(), head.data(), head.size());
    for (const auto& each : task.arrays) {
        written = written && base::write_all(file.get(), each.data(), each.size());
    }
    if (!written) fail("write", errno);
    if (::close(file.release()) != 0) fail("close", errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail("rename", errno);
}

saved_task read_task(std::span<const std::byte> file) {
    reader from{file};
    if (file.size() < magic.size() || as_text(from.take(magic.size())) != magic) {
        throw decode_error("it is not a saved task");
    }
    if (const std::uint32_t found = from.number32(); found != version) {
        throw decode_error("its format is version " + std::to_string(found) + ", not " +
                           std::to_string(version));
    }
    saved_task task;
    task.program = from.text();
    task.program_build = from.text();
    task.function = from.place();
    if (from.number64() != 0) task.code = from.place();
    task.name = from.text();
    task.label = from.text();
    task.seed = from.number64();
    task.number = from.number64();
    task.attempt = from.number64();
    task.timeout = std::chrono::nanoseconds(static_cast<std::int64_t>(from.number64()));
    task.what = from.text();
    task.stack_trace = from.text();
    if (const std::uint64_t at = from.number64(); at != nowhere) task.code_at = at;
    task.arguments = from.take(from.number64());
    task.array_places.resize(from.count(2 * sizeof(std::uint64_t)));
    for (auto& each : task.array_places) {
        each.at = from.number64();
        each.array = from.number64();
    }
    std::vector<std::uint64_t> sizes(from.count(sizeof(std::uint64_t)));
    for (std::uint64_t& each : sizes) each = from.number64();
    for (const std::uint64_t each : sizes) task.arrays.push_back(from.take(each));
    from.finish();
    check_places(task);
    return task;
}

}  // namespace prefork::detail

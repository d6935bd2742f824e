#include "codec/exception_codec.hpp"

#include <cxxabi.h>

#include <any>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <regex>
#include <sstream>
#include <system_error>
#include <typeinfo>
#include <variant>

#include "prefork/detail/payload.hpp"
#include "prefork/error.hpp"

namespace prefork::detail {
namespace {

// On the wire: kind, error code, category, type name, message; then, only where has_details(), the
// category's name and a filesystem_error's two paths, each ended by a zero byte.
enum class kind : std::uint32_t {
    other,
    exception,
    logic_error,
    invalid_argument,
    domain_error,
    length_error,
    out_of_range,
    runtime_error,
    range_error,
    overflow_error,
    underflow_error,
    system_error,
    bad_alloc,
    bad_cast,
    bad_function_call,
    bad_optional_access,
    bad_variant_access,
    ios_failure,
    filesystem_error,
    future_error,
    regex_error,
    bad_array_new_length,
    bad_any_cast,
    bad_typeid,
    bad_weak_ptr,
    bad_exception,
};

enum class category : std::uint32_t { generic, system, iostream, future, named };

// What is the same for every exception that is thrown often comes first, and is all of it: a small
// one travels in its slot.
struct description {
    kind what = kind::other;
    std::int32_t code = 0;
    category of = category::generic;
    std::string type_name;
    std::string message;
    std::string details;

    [[nodiscard]] bool has_details() const noexcept {
        return of == category::named || what == kind::filesystem_error;
    }
};

template <class Encoder>
std::string bytes_of(const Encoder& encoded) {
    std::string bytes(encoded.size(), '\0');
    // A string's buffer is aligned enough for what is in here: memcpy, no alignment above 8.
    encoded.write(reinterpret_cast<std::byte*>(bytes.data()));
    return bytes;
}

std::string to_bytes(const description& of) {
    using raw = codec::raw_t;
    using text = std::string;
    if (of.has_details()) {
        return bytes_of(encoder<raw, kind, std::int32_t, category, text, text, text>{
            of.what, of.code, of.of, of.type_name, of.message, of.details});
    }
    return bytes_of(encoder<raw, kind, std::int32_t, category, text, text>{
        of.what, of.code, of.of, of.type_name, of.message});
}

description from_bytes(std::span<const std::byte> bytes) {
    using raw = codec::raw_t;
    payload_reader from{bytes};
    description got;
    got.what = incoming<raw, kind>(from);
    got.code = incoming<raw, std::int32_t>(from);
    got.of = incoming<raw, category>(from);
    got.type_name = incoming<raw, std::string>(from);
    got.message = incoming<raw, std::string>(from);
    if (got.has_details()) got.details = incoming<raw, std::string>(from);
    from.finish();
    return got;
}

// The parts of `details`: what is missing is empty.
std::array<std::string, 3> parts_of(const std::string& details) {
    std::array<std::string, 3> parts;
    std::istringstream from{details};
    for (std::string& each : parts) std::getline(from, each, '\0');
    return parts;
}

// A category is an object of its process. One that the standard doesn't know is represented by one
// of the same name, that is made once and never destroyed.
class named_category final : public std::error_category {
  public:
    explicit named_category(std::string name) : name_(std::move(name)) {}
    [[nodiscard]] const char* name() const noexcept override { return name_.c_str(); }
    [[nodiscard]] std::string message(int code) const override {
        return name_ + ":" + std::to_string(code);
    }

  private:
    std::string name_;
};

const std::error_category& category_named(const std::string& name) {
    // A worker gone wild may make up names: from some number on they share one.
    constexpr std::size_t most = 1000;
    static std::mutex mutex;
    static auto* const all = new std::map<std::string, named_category>;
    const std::lock_guard held{mutex};
    const std::string& known = all->size() < most || all->contains(name) ? name : std::string{};
    return all->try_emplace(known, known).first->second;
}

category category_of(const std::error_code& code) {
    if (code.category() == std::generic_category()) return category::generic;
    if (code.category() == std::system_category()) return category::system;
    if (code.category() == std::iostream_category()) return category::iostream;
    if (code.category() == std::future_category()) return category::future;
    return category::named;
}

std::error_code code_of(const description& got) {
    switch (got.of) {
        case category::generic:
            return {got.code, std::generic_category()};
        case category::system:
            return {got.code, std::system_category()};
        case category::iostream:
            return {got.code, std::iostream_category()};
        case category::future:
            return {got.code, std::future_category()};
        case category::named:
            break;
    }
    return {got.code, category_named(parts_of(got.details)[0])};
}

std::string demangled(const std::type_info& type) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name{
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free};
    return name ? name.get() : type.name();
}

// A class whose what() says no more than its name is told by both.
template <class E>
class standard_task_error final : public E, public task_error {
  public:
    template <class... Args>
    explicit standard_task_error(std::string type_name, const std::string& message, Args&&... args)
        : E(std::forward<Args>(args)...), task_error(std::move(type_name), message) {}
    [[nodiscard]] const char* what() const noexcept override { return task_error::what(); }
};

#if defined(__GLIBCXX__)

// `standard_task_error<E>` has two std::exception bases, one by way of E and one of task_error, and
// a handler for an ambiguous base is passed over: catch (const std::exception&) would miss it. What
// a handler matches is decided by a virtual function of the thrown object's type_info, so it is
// thrown under a type_info that looks along E first and then along task_error. The name is the
// class's own, hence exact handlers, exception_ptr and rethrowing work as always.
template <class E>
class both_bases final : public abi::__class_type_info {
  public:
    both_bases() : abi::__class_type_info(typeid(standard_task_error<E>).name()) {}

    bool __do_upcast(const abi::__class_type_info* wanted, void** object) const override {
        auto* const thrown = static_cast<standard_task_error<E>*>(*object);
        return upcast<E>(thrown, wanted, object) || upcast<task_error>(thrown, wanted, object);
    }

  private:
    template <class Base>
    static bool upcast(Base* base, const abi::__class_type_info* wanted, void** object) {
        const std::type_info& type = typeid(Base);
        void* found = base;
        if (type == *wanted || type.__do_upcast(wanted, &found)) {
            *object = found;
            return true;
        }
        return false;
    }
};

template <class E>
[[noreturn]] void throw_both(standard_task_error<E>&& made) {
    // Never destroyed: an exception_ptr may be rethrown from another static object's destructor.
    static const auto* const type = new both_bases<E>;
    void* const memory = abi::__cxa_allocate_exception(sizeof made);
    new (memory) standard_task_error<E>(std::move(made));
    abi::__cxa_throw(memory, const_cast<both_bases<E>*>(type), [](void* thrown) {
        static_cast<standard_task_error<E>*>(thrown)->~standard_task_error<E>();
    });
}

#else

// Elsewhere such handlers need `catch (const task_error&)`.
template <class E>
[[noreturn]] void throw_both(standard_task_error<E>&& made) {
    throw std::move(made);
}

#endif

template <class E, class... Args>
[[noreturn]] void rethrow_as(const std::string& type_name, const std::string& message,
                             Args&&... args) {
    throw_both(standard_task_error<E>{type_name, message, std::forward<Args>(args)...});
}

[[noreturn]] void throw_decoded(const description& got) {
    const std::string& type = got.type_name;
    const std::string& message = got.message;
    switch (got.what) {
        case kind::logic_error:
            rethrow_as<std::logic_error>(type, message, message);
        case kind::invalid_argument:
            rethrow_as<std::invalid_argument>(type, message, message);
        case kind::domain_error:
            rethrow_as<std::domain_error>(type, message, message);
        case kind::length_error:
            rethrow_as<std::length_error>(type, message, message);
        case kind::out_of_range:
            rethrow_as<std::out_of_range>(type, message, message);
        case kind::future_error:
            rethrow_as<std::future_error>(type, message, static_cast<std::future_errc>(got.code));
        case kind::range_error:
            rethrow_as<std::range_error>(type, message, message);
        case kind::overflow_error:
            rethrow_as<std::overflow_error>(type, message, message);
        case kind::underflow_error:
            rethrow_as<std::underflow_error>(type, message, message);
        case kind::regex_error:
            // An enumeration of four bits: another number would not be one of its values.
            if (got.code < 0 || got.code > 15) break;
            rethrow_as<std::regex_error>(type, message,
                                         static_cast<std::regex_constants::error_type>(got.code));
        case kind::system_error:
            rethrow_as<std::system_error>(type, message, code_of(got));
        case kind::ios_failure:
            rethrow_as<std::ios_base::failure>(type, message, message, code_of(got));
        case kind::filesystem_error: {
            const auto [name, first, second] = parts_of(got.details);
            rethrow_as<std::filesystem::filesystem_error>(type, message, message, first, second,
                                                          code_of(got));
        }
        case kind::bad_alloc:
            rethrow_as<std::bad_alloc>(type, message);
        case kind::bad_array_new_length:
            rethrow_as<std::bad_array_new_length>(type, message);
        case kind::bad_cast:
            rethrow_as<std::bad_cast>(type, message);
        case kind::bad_any_cast:
            rethrow_as<std::bad_any_cast>(type, message);
        case kind::bad_typeid:
            rethrow_as<std::bad_typeid>(type, message);
        case kind::bad_weak_ptr:
            rethrow_as<std::bad_weak_ptr>(type, message);
        case kind::bad_exception:
            rethrow_as<std::bad_exception>(type, message);
        case kind::bad_function_call:
            rethrow_as<std::bad_function_call>(type, message);
        case kind::bad_optional_access:
            rethrow_as<std::bad_optional_access>(type, message);
        case kind::bad_variant_access:
            rethrow_as<std::bad_variant_access>(type, message);
        case kind::exception:
        case kind::runtime_error:
        case kind::other:
            break;  // a task_error is both of these already
    }
    throw task_error(type, message);
}

template <class E>
bool is(const std::exception& thrown) {
    return dynamic_cast<const E*>(&thrown) != nullptr;
}

// From the most derived to the least: the first that fits is the nearest standard base.
kind kind_of(const std::exception& thrown) {
    if (is<std::invalid_argument>(thrown)) return kind::invalid_argument;
    if (is<std::domain_error>(thrown)) return kind::domain_error;
    if (is<std::length_error>(thrown)) return kind::length_error;
    if (is<std::out_of_range>(thrown)) return kind::out_of_range;
    if (is<std::future_error>(thrown)) return kind::future_error;
    if (is<std::logic_error>(thrown)) return kind::logic_error;
    if (is<std::ios_base::failure>(thrown)) return kind::ios_failure;
    if (is<std::filesystem::filesystem_error>(thrown)) return kind::filesystem_error;
    if (is<std::system_error>(thrown)) return kind::system_error;
    if (is<std::range_error>(thrown)) return kind::range_error;
    if (is<std::overflow_error>(thrown)) return kind::overflow_error;
    if (is<std::underflow_error>(thrown)) return kind::underflow_error;
    if (is<std::regex_error>(thrown)) return kind::regex_error;
    if (is<std::runtime_error>(thrown)) return kind::runtime_error;
    if (is<std::bad_array_new_length>(thrown)) return kind::bad_array_new_length;
    if (is<std::bad_alloc>(thrown)) return kind::bad_alloc;
    if (is<std::bad_any_cast>(thrown)) return kind::bad_any_cast;
    if (is<std::bad_cast>(thrown)) return kind::bad_cast;
    if (is<std::bad_typeid>(thrown)) return kind::bad_typeid;
    if (is<std::bad_weak_ptr>(thrown)) return kind::bad_weak_ptr;
    if (is<std::bad_exception>(thrown)) return kind::bad_exception;
    if (is<std::bad_function_call>(thrown)) return kind::bad_function_call;
    if (is<std::bad_optional_access>(thrown)) return kind::bad_optional_access;
    if (is<std::bad_variant_access>(thrown)) return kind::bad_variant_access;
    return kind::exception;
}

// What a system_error and its children hold: a number, in which category, about which files.
void note_code(const std::exception& thrown, std::size_t limit, description& to) {
    const auto put = [&](std::string_view part) {
        to.details.append(part.substr(0, limit / 8)).push_back('\0');
    };
    if (const auto* const regex = dynamic_cast<const std::regex_error*>(&thrown))
        to.code = static_cast<std::int32_t>(regex->code());
    if (const auto* const future = dynamic_cast<const std::future_error*>(&thrown))
        to.code = future->code().value();
    const auto* const system = dynamic_cast<const std::system_error*>(&thrown);
    if (system == nullptr) return;
    to.code = system->code().value();
    to.of = category_of(system->code());
    if (!to.has_details()) return;
    put(system->code().category().name());
    const auto* const files = dynamic_cast<const std::filesystem::filesystem_error*>(system);
    if (files == nullptr) return;
    put(files->path1().native());
    put(files->path2().native());
}

std::string encode(const std::exception& thrown, std::size_t limit) {
    description made;
    made.what = kind_of(thrown);
    made.type_name = demangled(typeid(thrown));
    made.message = std::string_view{thrown.what()}.substr(0, limit / 2);
    note_code(thrown, limit, made);
    return to_bytes(made);
}

std::string encode_handled(std::size_t limit) {
    try {
        throw;
    } catch (const std::exception& thrown) {
        return encode(thrown, limit);
    } catch (...) {
        description made;
        made.type_name = current_exception_type();
        made.message = "the task threw " + made.type_name;
        return to_bytes(made);
    }
}

}  // namespace

std::string current_exception_type() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    return type != nullptr ? demangled(*type) : "an unknown type";
}

std::string encode_current_exception(std::size_t limit) noexcept {
    try {
        std::string bytes = encode_handled(limit);
        if (bytes.size() <= limit) return bytes;
        description made;
        made.message = "the exception's name is too long";
        return to_bytes(made);
    } catch (...) {
        return {};  // no memory for it: decode_exception() knows the empty form
    }
}

std::exception_ptr decode_exception(std::span<const std::byte> bytes) noexcept {
    try {
        if (bytes.empty()) rethrow_as<std::bad_alloc>("std::bad_alloc", "std::bad_alloc");
        throw_decoded(from_bytes(bytes));
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace prefork::detail

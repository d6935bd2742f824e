#include "codec/exception_codec.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <typeinfo>
#include <variant>

#include "prefork/detail/payload.hpp"
#include "prefork/error.hpp"

namespace prefork::detail {
namespace {

// On the wire: kind, error code, category, type name, message.
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
};

enum class category : std::uint32_t { generic, system, unknown };

using wire =
    encoder<codec::raw_t, kind, std::int32_t, category, std::string_view, std::string_view>;

std::string to_bytes(kind what, std::int32_t code, category of, std::string_view type_name,
                     std::string_view message) {
    const wire encoded{what, code, of, type_name, message};
    std::string bytes(encoded.size(), '\0');
    // A string's buffer is aligned enough for what is in here: memcpy, no alignment above 8.
    encoded.write(reinterpret_cast<std::byte*>(bytes.data()));
    return bytes;
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

[[noreturn]] void throw_decoded(kind what, std::int32_t code, category of, const std::string& type,
                                const std::string& message) {
    switch (what) {
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
        case kind::range_error:
            rethrow_as<std::range_error>(type, message, message);
        case kind::overflow_error:
            rethrow_as<std::overflow_error>(type, message, message);
        case kind::underflow_error:
            rethrow_as<std::underflow_error>(type, message, message);
        case kind::system_error:
            // A category is an object of its process; other ones than the standard's two are not
            // known here, and their number stays in the message.
            if (of == category::unknown) break;
            rethrow_as<std::system_error>(
                type, message,
                std::error_code(code, of == category::system ? std::system_category()
                                                             : std::generic_category()));
        case kind::bad_alloc:
            rethrow_as<std::bad_alloc>(type, message);
        case kind::bad_cast:
            rethrow_as<std::bad_cast>(type, message);
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
    if (is<std::logic_error>(thrown)) return kind::logic_error;
    if (is<std::system_error>(thrown)) return kind::system_error;
    if (is<std::range_error>(thrown)) return kind::range_error;
    if (is<std::overflow_error>(thrown)) return kind::overflow_error;
    if (is<std::underflow_error>(thrown)) return kind::underflow_error;
    if (is<std::runtime_error>(thrown)) return kind::runtime_error;
    if (is<std::bad_alloc>(thrown)) return kind::bad_alloc;
    if (is<std::bad_cast>(thrown)) return kind::bad_cast;
    if (is<std::bad_function_call>(thrown)) return kind::bad_function_call;
    if (is<std::bad_optional_access>(thrown)) return kind::bad_optional_access;
    if (is<std::bad_variant_access>(thrown)) return kind::bad_variant_access;
    return kind::exception;
}

std::string encode(const std::exception& thrown, std::size_t limit) {
    std::int32_t code = 0;
    auto of = category::unknown;
    if (const auto* const system = dynamic_cast<const std::system_error*>(&thrown)) {
        code = system->code().value();
        if (system->code().category() == std::generic_category()) of = category::generic;
        if (system->code().category() == std::system_category()) of = category::system;
    }
    return to_bytes(kind_of(thrown), code, of, demangled(typeid(thrown)),
                    std::string_view{thrown.what()}.substr(0, limit / 2));
}

std::string encode_handled(std::size_t limit) {
    try {
        throw;
    } catch (const std::exception& thrown) {
        return encode(thrown, limit);
    } catch (...) {
        const std::string name = current_exception_type();
        return to_bytes(kind::other, 0, category::unknown, name, "the task threw " + name);
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
        return to_bytes(kind::other, 0, category::unknown, "", "the exception's name is too long");
    } catch (...) {
        return {};  // no memory for it: decode_exception() knows the empty form
    }
}

std::exception_ptr decode_exception(std::span<const std::byte> bytes) noexcept {
    try {
        if (bytes.empty()) rethrow_as<std::bad_alloc>("std::bad_alloc", "std::bad_alloc");
        const auto [what, code, of, type, message] =
            decode<codec::raw_t, kind, std::int32_t, category, std::string, std::string>(bytes);
        throw_decoded(what, code, of, type, message);
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace prefork::detail

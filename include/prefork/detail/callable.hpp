#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <utility>

#include "prefork/detail/payload.hpp"
#include "prefork/export.hpp"

// How a call becomes a function address and a payload. Every process is a fork of one image, so the
// address of `invoke<...>` means the same in all of them.

namespace prefork::detail {

/// Where an invoker puts the encoded result.
class result_sink {
  public:
    /// `size` bytes aligned to payload_alignment. Throws if there is no room. Called at most once.
    virtual std::byte* allocate(std::size_t size) = 0;

  protected:
    ~result_sink() = default;
};

/// Decodes, calls, encodes. Throws what the callable throws, or decode_error.
using invoker = void (*)(std::span<const std::byte> payload, result_sink& to);

/// Of the running task; one that nobody can stop inline.
[[nodiscard]] PREFORK_EXPORT std::stop_token task_stop_token();
/// Which item of a map's chunk runs: written by the chunk, for this_task::seed().
[[nodiscard]] PREFORK_EXPORT std::uint64_t& task_item() noexcept;

template <class... Ts>
struct type_list {
    static constexpr std::size_t size = sizeof...(Ts);
};

/// The parameter types of a callable that has only one signature; `void` for one that has several
/// (a generic lambda), where the arguments' own types decide.
template <class Fn>
struct signature {
    using parameters = void;
};
template <class R, class... Ps>
struct signature<R (*)(Ps...)> {
    using parameters = type_list<Ps...>;
};
template <class R, class... Ps>
struct signature<R (*)(Ps...) noexcept> : signature<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct signature<R (C::*)(Ps...)> : signature<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct signature<R (C::*)(Ps...) const> : signature<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct signature<R (C::*)(Ps...) noexcept> : signature<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct signature<R (C::*)(Ps...) const noexcept> : signature<R (*)(Ps...)> {};
template <class Fn>
requires requires { &Fn::operator(); }
struct signature<Fn> : signature<decltype(&Fn::operator())> {};

/// The parameters that arguments are given for: without a leading std::stop_token.
template <class Parameters>
struct without_stop {
    using type = Parameters;
    static constexpr bool takes_stop = false;
};
template <class... Ps>
struct without_stop<type_list<std::stop_token, Ps...>> {
    using type = type_list<Ps...>;
    static constexpr bool takes_stop = true;
};
template <class... Ps>
struct without_stop<type_list<const std::stop_token&, Ps...>>
    : without_stop<type_list<std::stop_token, Ps...>> {};

template <class Fn>
using parameters_of = typename without_stop<typename signature<Fn>::parameters>::type;

/// A task whose first parameter is an std::stop_token is given one. A generic callable is one if it
/// can't be called otherwise.
template <class Fn, class... Args>
consteval bool takes_stop() {
    if constexpr (std::is_void_v<typename signature<Fn>::parameters>) {
        return !std::is_invocable_v<Fn&, Args...> &&
               std::is_invocable_v<Fn&, std::stop_token, Args...>;
    } else {
        return without_stop<typename signature<Fn>::parameters>::takes_stop;
    }
}

template <class Fn, class... Args>
decltype(auto) call_task(Fn& fn, Args&&... arguments) {
    if constexpr (takes_stop<Fn, Args...>()) {
        return std::invoke(fn, task_stop_token(), std::forward<Args>(arguments)...);
    } else {
        return std::invoke(fn, std::forward<Args>(arguments)...);
    }
}

/// What a parameter travels as.
template <class Parameter>
struct travels {
    static_assert(
        !std::is_lvalue_reference_v<Parameter> ||
            std::is_const_v<std::remove_reference_t<Parameter>>,
        "prefork: a task can't change its caller's variable through a reference: take it by "
        "value or by const reference, and return what changes");
    using type = std::remove_cvref_t<Parameter>;
};

/// What an argument travels as where no parameter says so.
template <class Argument>
struct travels_alone {
    using decayed = std::decay_t<Argument>;
    using type =
        std::conditional_t<std::is_same_v<decayed, const char*> || std::is_same_v<decayed, char*>,
                           std::string_view, decayed>;
};

template <class Parameters, class... Args>
struct wire_types;
template <class... Ps, class... Args>
struct wire_types<type_list<Ps...>, Args...> {
    static_assert(sizeof...(Ps) == sizeof...(Args),
                  "prefork: the number of arguments is not the number of the task's parameters");
    using type = type_list<typename travels<Ps>::type...>;
};
template <class... Args>
struct wire_types<void, Args...> {
    using type = type_list<typename travels_alone<Args>::type...>;
};

/// An argument as what it travels as: itself, or converted as a call would.
template <class Wire, class Argument>
[[nodiscard]] decltype(auto) as_wire(Argument&& argument) {
    if constexpr (std::is_same_v<std::remove_cvref_t<Argument>, Wire>) {
        return static_cast<const Wire&>(argument);
    } else {
        static_assert(std::is_convertible_v<Argument, Wire>,
                      "prefork: an argument can't be converted to the task's parameter");
        return static_cast<Wire>(std::forward<Argument>(argument));
    }
}

template <class Fn, class Wires>
struct call_result;
template <class Fn, class... Ws>
struct call_result<Fn, type_list<Ws...>> {
    static_assert(
        std::is_invocable_v<Fn&, Ws...> || std::is_invocable_v<Fn&, std::stop_token, Ws...>,
        "prefork: the task can't be called with these arguments: too few, too many, or of "
        "other types than it takes");
    using type = decltype(call_task(std::declval<Fn&>(), std::declval<Ws>()...));
};

/// The value that a call of `Fn` with `Args` gives.
template <class Fn, class... Args>
using result_of =
    typename call_result<std::decay_t<Fn>,
                         typename wire_types<parameters_of<std::decay_t<Fn>>, Args...>::type>::type;

template <class Fn>
consteval void check_callable() {
    static_assert(
        std::is_trivially_copyable_v<Fn>,
        "prefork: a task's callable travels as its bytes, so what it captures must be trivially "
        "copyable: pass strings, vectors and the like as arguments instead");
}

template <class R>
consteval void check_result() {
    static_assert(
        !std::is_reference_v<R>,
        "prefork: a task can't return a reference, what it refers to stays in the worker: "
        "return a value");
    static_assert(
        !is_view<R>,
        "prefork: a task can't return a string_view or span, what it points to stays in the "
        "worker: return a std::string or std::vector");
    static_assert(!std::is_pointer_v<R> || function_pointer<R>,
                  "prefork: a task can't return a pointer, what it points to stays in the worker: "
                  "return a value");
}

/// A call on its way: the callable's bytes, then the arguments.
template <class Codec, class Fn, class... Ws>
class call_encoder {
  public:
    call_encoder(const Fn& fn, const Ws&... arguments)
        : fn_(fn), arguments_(outgoing<Codec, Ws>(arguments)...) {
        check_callable<Fn>();
    }
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t at = raw_encoding::measure(0, fn_);
        std::apply([&](const auto&... each) { ((at = each.measure(at)), ...); }, arguments_);
        return at;
    }
    void write(std::byte* base) const noexcept {
        std::size_t at = raw_encoding::write(base, 0, fn_);
        std::apply([&](const auto&... each) { ((at = each.write(base, at)), ...); }, arguments_);
    }

  private:
    const Fn& fn_;
    std::tuple<outgoing<Codec, Ws>...> arguments_;
};

/// Where a callable's code lies, when that is not where its type's is: nullptr otherwise.
/// Specialised for what wraps another callable.
template <class Fn>
struct code {
    [[nodiscard]] static const void* of(const Fn& fn) noexcept {
        if constexpr (function_pointer<Fn>) {
            return reinterpret_cast<const void*>(fn);
        } else {
            return nullptr;
        }
    }
};
template <class Fn>
[[nodiscard]] const void* code_of(const Fn& fn) noexcept {
    return code<Fn>::of(fn);
}

template <class Codec, class R>
void encode_result(const R& value, result_sink& to) {
    const encoder<Codec, R> encoded{value};
    encoded.write(to.allocate(encoded.size()));
}

template <class Codec, class Fn, class... Ws>
void invoke(std::span<const std::byte> payload, result_sink& to) {
    payload_reader from{payload};
    Fn fn = read_value<Fn>(from);
    std::tuple<Ws...> arguments{incoming<Codec, Ws>(from)...};
    from.finish();
    const auto call = [&](Ws&... each) -> decltype(auto) {
        return call_task(fn, std::move(each)...);
    };
    using result = std::remove_cv_t<decltype(std::apply(call, arguments))>;
    if constexpr (std::is_void_v<result>) {
        std::apply(call, arguments);
    } else {
        encode_result<Codec, result>(std::apply(call, arguments), to);
    }
}

}  // namespace prefork::detail

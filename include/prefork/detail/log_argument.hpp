#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

// What log() accepts, and how the compiler checks its text. Included by log.hpp, not by users.

namespace prefork {

enum class level : std::uint8_t { debug, info, warning, error };

namespace detail {

// Declared and nowhere defined, and not constexpr: a call at compile time is the error message.
void log_format_is_wrong(const char* why);

constexpr void check_log_format(std::string_view text, std::size_t arguments) {
    std::size_t places = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '{' && text[i] != '}') continue;
        const char next = i + 1 < text.size() ? text[i + 1] : '\0';
        if (text[i] == '}' && next != '}') {
            log_format_is_wrong("prefork: a lone } in the text of log(): write }} for a brace");
        }
        if (text[i] == '{' && next != '{' && next != '}') {
            log_format_is_wrong("prefork: log() knows {} only, and {{ for a brace");
        }
        places += text[i] == '{' && next == '}';
        ++i;
    }
    if (places > arguments) {
        log_format_is_wrong("prefork: log() has more {} than arguments: add one, or write {{}}");
    }
    if (places < arguments) {
        log_format_is_wrong("prefork: log() has more arguments than {}: add a {} for each");
    }
}

template <class T>
concept log_character = std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
    std::same_as<T, char16_t> || std::same_as<T, char32_t>;
template <class T>
concept log_integer = std::integral<T> && !log_character<T> && sizeof(T) <= 8;
template <class T>
concept log_text = std::convertible_to<const T&, std::string_view>;

/// One argument, its type forgotten; refers to what it was made from.
class log_argument {
  public:
    enum class kind : std::uint8_t {
        nothing,
        text,
        boolean,
        character,
        negative,  ///< an integer below 0; any other is a `number`
        number,
        single_float,
        double_float,
        long_float,
        pointer,
    };

    log_argument() noexcept : kind_(kind::nothing), number_(0) {}
    template <class T>
    explicit log_argument(const T& value) noexcept;
    // Of an array of characters that need not end in 0.
    template <std::size_t size>
    explicit log_argument(const char (&value)[size]) noexcept : kind_(kind::text), text_() {
        std::size_t length = 0;
        while (length < size && value[length] != '\0') ++length;
        text_ = {value, length};
    }

    [[nodiscard]] kind what() const noexcept { return kind_; }
    [[nodiscard]] std::string_view text() const noexcept { return text_; }
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
    [[nodiscard]] float single_float() const noexcept { return single_float_; }
    [[nodiscard]] double double_float() const noexcept { return double_float_; }
    [[nodiscard]] long double long_float() const noexcept { return long_float_; }

  private:
    template <class T>
    void take_integer(T value) noexcept {
        kind_ = value < T{} ? kind::negative : kind::number;
        number_ = static_cast<std::uint64_t>(value);
    }

    kind kind_;
    union {
        std::string_view text_;
        std::uint64_t number_;
        float single_float_;
        double double_float_;
        long double long_float_;
    };
};

template <class T>
log_argument::log_argument(const T& value) noexcept : kind_(kind::number), number_(0) {
    if constexpr (std::is_same_v<T, bool>) {
        kind_ = kind::boolean;
        number_ = value ? 1 : 0;
    } else if constexpr (std::is_same_v<T, char>) {
        kind_ = kind::character;
        number_ = static_cast<unsigned char>(value);
    } else if constexpr (log_integer<T>) {
        take_integer(value);
    } else if constexpr (std::is_enum_v<T>) {
        take_integer(static_cast<long long>(value));
        if constexpr (std::is_unsigned_v<std::underlying_type_t<T>>) kind_ = kind::number;
    } else if constexpr (std::is_same_v<T, float>) {
        kind_ = kind::single_float;
        single_float_ = value;
    } else if constexpr (std::is_same_v<T, double>) {
        kind_ = kind::double_float;
        double_float_ = value;
    } else if constexpr (std::is_same_v<T, long double>) {
        kind_ = kind::long_float;
        long_float_ = value;
    } else if constexpr (std::is_null_pointer_v<T>) {
        kind_ = kind::pointer;
    } else if constexpr (log_text<T>) {
        kind_ = kind::text;
        if constexpr (std::is_pointer_v<T>) {
            text_ = value == nullptr ? std::string_view("(null)") : std::string_view(value);
        } else {
            text_ = value;
        }
    } else if constexpr (std::is_pointer_v<T>) {
        kind_ = kind::pointer;
        number_ = reinterpret_cast<std::uintptr_t>(value);
    } else {
        static_assert(
            log_text<T>,
            "prefork: log() writes strings, bool, char, numbers, pointers and enums: make "
            "one of these of the argument");
    }
}

}  // namespace detail
}  // namespace prefork

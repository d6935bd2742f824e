#pragma once

#include <string>

// Debian 12 has Catch2 v2, others v3: the tests include this shim and nothing else of it.
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
namespace prefork::test {
inline auto containing(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
}  // namespace prefork::test
#else
#include <catch2/catch.hpp>
namespace prefork::test {
inline auto containing(const std::string& text) { return Catch::Contains(text); }
}  // namespace prefork::test
#endif

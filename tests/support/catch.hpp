#pragma once

// Debian 12 has Catch2 v2, others v3: the tests include this shim and nothing else of it.
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

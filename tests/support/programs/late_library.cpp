// A library that is loaded after the workers were forked. For pool/function_check_test.cpp.

extern "C" __attribute__((visibility("default"))) int late_twice(int x) { return 2 * x; }

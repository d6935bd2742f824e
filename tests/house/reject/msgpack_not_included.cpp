// expect: prefork: codec::msgpack doesn't carry this type
// expect: include <prefork/codec/msgpack.hpp> first
#include <prefork/pool.hpp>

int twice(int n) { return 2 * n; }

void use(prefork::pool& pool) { pool.with(prefork::codec::msgpack_t{}).submit(twice, 1); }

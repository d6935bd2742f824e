// expect: prefork: codec::boost_archive doesn't carry this type
// expect: include <prefork/codec/boost_archive.hpp> first
#include <prefork/pool.hpp>

int twice(int n) { return 2 * n; }

void use(prefork::pool& pool) { pool.with(prefork::codec::boost_archive_t{}).submit(twice, 1); }

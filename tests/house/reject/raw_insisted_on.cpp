// expect: prefork: codec::raw carries trivially copyable values, strings
// expect: this type needs codec::msgpack or codec::boost_archive
// expect: std::map<int, int
#include <map>
#include <prefork/pool.hpp>

std::size_t count(const std::map<int, int>& in) { return in.size(); }

void use(prefork::pool& pool) {
    pool.with(prefork::codec::raw).submit(count, std::map<int, int>{});
}

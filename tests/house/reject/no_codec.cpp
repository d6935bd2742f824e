// expect: prefork: no codec carries this type
// expect: Make it trivially copyable
// expect: include <prefork/codec/msgpack.hpp> and give it MSGPACK_DEFINE
// expect: include <prefork/codec/boost_archive.hpp> and give it a serialize()
// expect: customer_record
#include <prefork/pool.hpp>
#include <string>

struct customer_record {
    std::string name;
};
std::size_t length(const customer_record& of) { return of.name.size(); }

void use(prefork::pool& pool) { pool.submit(length, customer_record{"kim"}); }

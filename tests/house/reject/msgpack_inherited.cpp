// needs: msgpack
// expect: prefork: no codec carries this type
// expect: signed_letter
#include <prefork/codec/msgpack.hpp>
#include <prefork/pool.hpp>
#include <string>

struct letter {
    std::string text;
    MSGPACK_DEFINE(text)
};
// The inherited MSGPACK_DEFINE knows nothing of the signature.
struct signed_letter : letter {
    std::string signature;
};
std::size_t length(const signed_letter& of) { return of.text.size(); }

void use(prefork::pool& pool) { pool.submit(length, signed_letter{}); }

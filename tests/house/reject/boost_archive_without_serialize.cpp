// needs: boost_archive
// expect: prefork: codec::boost_archive doesn't carry this type
// expect: give the type a serialize()
// expect: customer_record
#include <prefork/codec/boost_archive.hpp>
#include <prefork/pool.hpp>
#include <string>
#include <vector>

struct customer_record {
    std::string name;
};
std::size_t count(const std::vector<customer_record>& in) { return in.size(); }

void use(prefork::pool& pool) {
    pool.with(prefork::codec::boost_archive).submit(count, std::vector<customer_record>{});
}

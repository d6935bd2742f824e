// expect: prefork: no codec carries this type
// expect: customer_record
#include <prefork/pool.hpp>
#include <string>

struct customer_record {
    std::string name;
};
customer_record find(int) { return {}; }

void use(prefork::pool& pool) { pool.submit(find, 1); }

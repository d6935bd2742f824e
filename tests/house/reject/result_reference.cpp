// expect: prefork: a task can't return a reference
// expect: return a value
#include <prefork/pool.hpp>
#include <string>

const std::string& name(int) {
    static const std::string kim = "kim";
    return kim;
}

void use(prefork::pool& pool) { pool.submit(name, 1); }

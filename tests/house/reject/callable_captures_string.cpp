// expect: what it captures must be trivially copyable
// expect: pass strings, vectors and the like as arguments instead
#include <prefork/pool.hpp>
#include <string>

void use(prefork::pool& pool) {
    const std::string name = "kim";
    pool.submit([name](int n) { return name.size() + static_cast<std::size_t>(n); }, 1);
}

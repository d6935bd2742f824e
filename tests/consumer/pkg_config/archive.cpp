// What prefork-boost-archive.pc is for: a type that Boost.Serialization carries, there and back.
#include <iostream>
#include <prefork/codec/boost_archive.hpp>
#include <prefork/prefork.hpp>

struct order {
    int number = 0;
    std::string item;

    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& number& item;
    }
};

order next(const order& last) { return {last.number + 1, last.item}; }

int main() {
    prefork::pool pool{{.workers = 2}};
    std::cout << pool.submit(next, order{41, "a chair"}).get().number << '\n';
}

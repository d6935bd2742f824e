// A program outside the tree, as a user writes it: only the installed library, only the raw codec.
#include <iostream>
#include <prefork/prefork.hpp>

int add(int a, int b) { return a + b; }

int main() {
    prefork::pool pool{{.workers = 2}};
    std::cout << pool.submit(add, 40, 2).get() << '\n';
}

// The smallest program that does something useful: work in another process, its result here.
#include <iostream>
#include <numeric>
#include <prefork/prefork.hpp>
#include <vector>

namespace pf = prefork;

long divisors(long number) {
    long count = 0;
    for (long i = 1; i <= number; ++i) count += number % i == 0;
    return count;
}

int main() {
    pf::pool pool;  // one worker per usable CPU, forked here
    std::cout << "divisors of 5040: " << pool.submit(divisors, 5040).get() << '\n';

    std::vector<long> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 1);
    const std::vector<long> counts = pool.map(numbers, divisors);
    std::cout << "divisors of 1 to 1000: " << std::accumulate(counts.begin(), counts.end(), 0L)
              << '\n';
}

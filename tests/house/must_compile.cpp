// The control of must_not_compile.py: what the files in reject/ do wrong, done right.
#include <optional>
#include <prefork/log.hpp>
#include <prefork/pool.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct point {
    double x = 0;
    double y = 0;
};

double sum(std::span<const double> values) { return values.empty() ? 0 : values[0]; }
std::string first_word(std::string_view text) {
    return std::string(text.substr(0, text.find(' ')));
}
std::optional<point> middle(const std::vector<point>& points) {
    return points.empty() ? std::nullopt : std::optional{points[points.size() / 2]};
}

void use(prefork::pool& pool) {
    const int factor = 3;
    const std::vector<double> values(3);
    pool.submit(sum, values).get();
    pool.submit(first_word, "two words").get();
    pool.submit(middle, std::vector<point>(3)).get();
    pool.submit([factor](int n) { return n * factor; }, 2).get();
    pool.with(prefork::codec::raw).submit(sum, values).get();
    pool.submit([](auto a, auto b) { return a + b; }, 1, 2.5).get();
    prefork::log(prefork::level::info, "{} of {{}}", factor);
    prefork::log(prefork::level::info, "{}", std::string("a text that is made at run time"));
}

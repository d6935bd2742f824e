#include <boost/serialization/base_object.hpp>
#include <boost/serialization/export.hpp>
#include <map>
#include <memory>
#include <prefork/codec/boost_archive.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "codec/payload_bytes.hpp"
#include "support/catch.hpp"

using namespace prefork;
using prefork::codec::automatic_t;
using prefork::codec::boost_archive_t;
using prefork::test::damage;
using prefork::test::decodes;
using prefork::test::encoded;
using prefork::test::payload_bytes;
using prefork::test::there_and_back;

struct shape {
    virtual ~shape() = default;
    [[nodiscard]] virtual double area() const = 0;
    template <class Archive>
    void serialize(Archive&, unsigned) {}
};

struct square : shape {
    explicit square(double a = 0) : side(a) {}
    [[nodiscard]] double area() const override { return side * side; }
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& boost::serialization::base_object<shape>(*this);
        archive& side;
    }
    double side;
};

struct unknown_shape : square {
    using square::square;
};

BOOST_SERIALIZATION_ASSUME_ABSTRACT(shape)
BOOST_CLASS_EXPORT(square)

namespace zoo {

struct animal {
    std::string name;
};
template <class Archive>
void serialize(Archive& archive, animal& it, unsigned) {
    archive& it.name;
}

struct cage {
    std::vector<animal> inside;
};
struct undescribed {
    std::string text;
};

class keeper {
  public:
    keeper() = default;
    explicit keeper(std::string name) : name_(std::move(name)) {}
    [[nodiscard]] const std::string& name() const { return name_; }

  private:
    friend class boost::serialization::access;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& name_;
    }
    std::string name_;
};

class visitor final {
  public:
    std::string name;

  private:
    friend class boost::serialization::access;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& name;
    }
};

struct escaped {
    std::string how;
    template <class Archive>
    void serialize(Archive&, unsigned) {
        throw std::domain_error("escaped");
    }
};

}  // namespace zoo

namespace boost::serialization {
template <class Archive>
void serialize(Archive& archive, zoo::cage& it, const unsigned int) {
    archive& it.inside;
}
}  // namespace boost::serialization

template <>
inline constexpr bool prefork::codec::is_boost_archive<zoo::visitor> = true;

TEST_CASE("serialize() is found as a member, private or not, and free in either namespace") {
    CHECK(there_and_back<automatic_t>(zoo::keeper{"kim"}).name() == "kim");
    CHECK(there_and_back<automatic_t>(zoo::animal{"lion"}).name == "lion");
    CHECK(there_and_back<automatic_t>(zoo::cage{{{"lion"}, {"bear"}}}).inside[1].name == "bear");
    zoo::visitor guest;
    guest.name = "lee";
    CHECK(there_and_back<automatic_t>(guest).name == "lee");
    STATIC_REQUIRE_FALSE(detail::carried_by_boost_archive<zoo::undescribed>);
    STATIC_REQUIRE_FALSE(detail::carried_by_boost_archive<std::vector<zoo::undescribed>>);
    STATIC_REQUIRE_FALSE(detail::carried_by_boost_archive<std::unique_ptr<int>>);
}

TEST_CASE("a derived class arrives through a pointer to its base") {
    const std::unique_ptr<shape> held = std::make_unique<square>(3.0);
    const auto back = there_and_back<automatic_t>(held);
    REQUIRE(back != nullptr);
    CHECK(back->area() == 9.0);
    CHECK(dynamic_cast<const square*>(back.get()) != nullptr);
    CHECK(there_and_back<automatic_t>(std::unique_ptr<shape>{}) == nullptr);
}

TEST_CASE("two shared pointers to one object arrive as two to one") {
    const auto one = std::make_shared<zoo::animal>(zoo::animal{"lion"});
    const auto back =
        there_and_back<automatic_t>(std::vector<std::shared_ptr<zoo::animal>>{one, one});
    REQUIRE(back.size() == 2);
    CHECK(back[0] == back[1]);
    CHECK(back[0]->name == "lion");
}

TEST_CASE("what an insisted codec::boost_archive is given arrives, numbers and strings included") {
    CHECK(there_and_back<boost_archive_t>(-17) == -17);
    CHECK(there_and_back<boost_archive_t>(std::string("\0x", 2)) == std::string("\0x", 2));
    const std::map<std::string, std::vector<int>> lists{{"a", {1, 2}}, {"b", {}}};
    CHECK(there_and_back<boost_archive_t>(lists) == lists);
    STATIC_REQUIRE(detail::carrier_of<automatic_t, int>() == detail::carrier::raw);
}

TEST_CASE("a class that Boost doesn't know fails where it is packed, by Boost's own exception") {
    const std::unique_ptr<shape> held = std::make_unique<unknown_shape>(1.0);
    REQUIRE_THROWS_AS(encoded<automatic_t>(held), boost::archive::archive_exception);
    REQUIRE_THROWS_AS(encoded<automatic_t>(zoo::escaped{}), std::domain_error);
}

TEST_CASE("no truncation of an archive passes, and no changed byte does harm") {
    const std::unique_ptr<shape> held = std::make_unique<square>(2.0);
    CHECK(damage<automatic_t>(held, 7) == 0);
    const std::vector<zoo::keeper> keepers{zoo::keeper{"kim"}, zoo::keeper{"sam"}};
    CHECK(damage<automatic_t>(keepers) == 0);
    const auto one = std::make_shared<zoo::animal>(zoo::animal{"lion"});
    CHECK(damage<boost_archive_t>(std::vector<std::shared_ptr<zoo::animal>>{one, one}, 1.5) == 0);
}

TEST_CASE("every changed bit of an archive is noticed before Boost sees it") {
    payload_bytes bytes = encoded<automatic_t>(zoo::keeper{"kim"});
    CHECK((decodes<automatic_t, zoo::keeper>(bytes.bytes())));
    for (std::size_t bit = 0; bit != bytes.size() * 8; ++bit) {
        const auto mask = std::byte(1u << bit % 8);
        bytes.data()[bit / 8] ^= mask;
        CHECK_FALSE((decodes<automatic_t, zoo::keeper>(bytes.bytes())));
        bytes.data()[bit / 8] ^= mask;
    }
}

TEST_CASE("an archive of one type is refused as another, and so are too few bytes for a checksum") {
    const payload_bytes bytes = encoded<automatic_t>(zoo::keeper{"kim"});
    CHECK_FALSE((decodes<automatic_t, zoo::animal>(bytes.bytes())));
    CHECK_FALSE(
        (decodes<automatic_t, zoo::keeper>(encoded<codec::raw_t>(std::string{"1234567"}).bytes())));
}

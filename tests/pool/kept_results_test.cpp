#include "pool/kept_results.hpp"

#include <memory_resource>

#include "support/catch.hpp"

using prefork::detail::kept_results;

namespace {

/// What is out of it.
class counting_memory final : public std::pmr::memory_resource {
  public:
    counting_memory() : before_(std::pmr::set_default_resource(this)) {}
    ~counting_memory() override { std::pmr::set_default_resource(before_); }
    counting_memory(const counting_memory&) = delete;
    counting_memory& operator=(const counting_memory&) = delete;

    std::size_t bytes = 0;

  private:
    void* do_allocate(std::size_t size, std::size_t alignment) override {
        bytes += size;
        return std::pmr::new_delete_resource()->allocate(size, alignment);
    }
    void do_deallocate(void* at, std::size_t size, std::size_t alignment) override {
        bytes -= size;
        std::pmr::new_delete_resource()->deallocate(at, size, alignment);
    }
    [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
        return this == &other;
    }

    std::pmr::memory_resource* before_;
};

}  // namespace

TEST_CASE("a result that is kept is taken once") {
    kept_results kept;
    kept.add(7, {});
    CHECK_FALSE(kept.take(6));
    CHECK(kept.take(7));
    CHECK_FALSE(kept.take(7));
    static_cast<void>(kept.place_for(8));
    kept.erase(8);
    CHECK(kept.empty());
}

TEST_CASE("the memory of many results goes back when all are taken, and that of few is kept") {
    counting_memory memory;
    {
        kept_results kept;
        const std::size_t at_first = memory.bytes;
        constexpr std::uint64_t many = 10'000;
        for (std::uint64_t i = 0; i < many; ++i) kept.add(i, {});
        CHECK(memory.bytes > many * sizeof(prefork::detail::outcome));
        for (std::uint64_t i = 1; i < many; ++i) REQUIRE(kept.take(i));
        kept.trim();
        CHECK(memory.bytes > many * sizeof(prefork::detail::outcome));  // one is left
        REQUIRE(kept.take(0));
        CHECK(kept.should_trim());
        kept.trim();
        CHECK(memory.bytes == at_first);
        CHECK_FALSE(kept.should_trim());
        kept.add(1, {});
        REQUIRE(kept.take(1));
        CHECK_FALSE(kept.should_trim());
    }
    CHECK(memory.bytes == 0);
}

#include "process/stop_watch.hpp"

#include <sys/mman.h>

#include <atomic>
#include <memory>

#include "support/catch.hpp"
#include "support/until.hpp"

using namespace prefork::process;
using prefork::ring::slot_word;
using prefork::test::until;

namespace {

slot_word run(std::uint64_t seq, std::uint64_t attempt = 0) {
    return slot_word::ready(seq, attempt).with(prefork::ring::state::claimed).with_owner(1);
}

/// Lives as long as the process, as its thread does.
struct worker {
    journal notes{};
    stop_watch watch{notes};
};
worker& make_worker() { return *std::make_unique<worker>().release(); }

}  // namespace

TEST_CASE("a token says stop once its own run is asked to, and runs callbacks") {
    worker& here = make_worker();
    const std::stop_token token = here.watch.token(run(7));
    std::atomic<bool> called{false};
    const std::stop_callback callback{token, [&] { called = true; }};
    CHECK(token.stop_possible());
    request_stop(here.notes, run(6));
    request_stop(here.notes, run(7, 1));
    CHECK_FALSE(token.stop_requested());
    request_stop(here.notes, run(7));
    REQUIRE(until([&] { return called.load(); }));
    CHECK(token.stop_requested());
}

TEST_CASE("a request that came before the token was asked for is not missed") {
    worker& here = make_worker();
    request_stop(here.notes, run(3));
    CHECK(here.watch.token(run(3)).stop_requested());
    CHECK_FALSE(here.watch.token(run(4)).stop_requested());
}

TEST_CASE("the token of a task that is over hears nothing of later ones") {
    worker& here = make_worker();
    const std::stop_token old = here.watch.token(run(1));
    here.watch.end();
    const std::stop_token now = here.watch.token(run(2));
    request_stop(here.notes, run(2));
    REQUIRE(until([&] { return now.stop_requested(); }));
    CHECK_FALSE(old.stop_requested());
}

TEST_CASE("without a token, a task that asks is told the same") {
    journal notes{};
    CHECK_FALSE(stop_requested(notes));
    notes.running = run(9).bits();
    CHECK_FALSE(stop_requested(notes));
    request_stop(notes, run(9));
    CHECK(stop_requested(notes));
    notes.running = run(10).bits();
    CHECK_FALSE(stop_requested(notes));
}

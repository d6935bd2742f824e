#include "ring/slot_word.hpp"

#include "support/catch.hpp"

using namespace prefork::ring;

namespace {
constexpr state all_states[] = {state::empty, state::awaited,   state::ready,     state::claimed,
                                state::done,  state::cancelled, state::timed_out, state::lost};
}

TEST_CASE("fields of a slot word do not disturb each other") {
    const auto word = slot_word::ready(0xff'ffff'ffffu, 255).with_owner(511).with_waited(true);
    CHECK(word.seq() == 0xff'ffff'ffffu);
    CHECK(word.attempt() == 255);
    CHECK(word.owner() == 511);
    CHECK(word.waited());
    CHECK(word.state() == state::ready);
    CHECK(word.with(state::lost).with_owner(0).with_waited(false) ==
          slot_word::ready(0xff'ffff'ffffu, 255).with(state::lost));
}

TEST_CASE("state, owner and waited lie in the half that a futex sleeps on") {
    const slot_word claimed = slot_word::ready(7, 1).with(state::claimed).with_owner(3);
    CHECK(claimed.low_half() != claimed.with(state::done).low_half());
    CHECK(claimed.low_half() != claimed.with_waited(true).low_half());
    CHECK(claimed.low_half() != claimed.with_owner(4).low_half());
}

TEST_CASE("positions are compared across the wrap of seq") {
    constexpr std::uint64_t last = (std::uint64_t{1} << 40) - 1;
    CHECK(distance(last, 0) == 1);
    CHECK(distance(0, last) == -1);
    CHECK(distance(5, 5) == 0);
    CHECK(distance(last, std::uint64_t{1} << 40) == 1);
}

TEST_CASE("only the owner of a claim can commit it, and only to done") {
    const slot_word claimed = slot_word::ready(7, 0).with(state::claimed).with_owner(3);
    for (const state to : all_states) {
        CAPTURE(static_cast<int>(to));
        CHECK(transition_allowed(claimed, claimed.with(to), actor::worker, 3) ==
              (to == state::done));
        CHECK_FALSE(transition_allowed(claimed, claimed.with(to), actor::worker, 4));
    }
}

TEST_CASE("no worker leaves a terminal state, and the host leaves it only to empty") {
    for (const state from : {state::done, state::cancelled, state::timed_out, state::lost}) {
        const slot_word word = slot_word::ready(7, 0).with(from).with_owner(3);
        for (const state to : all_states) {
            CAPTURE(static_cast<int>(from), static_cast<int>(to));
            CHECK_FALSE(transition_allowed(word, word.with(to), actor::worker, 3));
            const slot_word next = word.with(to).with_owner(0);
            CHECK(transition_allowed(word, next, actor::host, 0) == (to == state::empty));
        }
    }
}

TEST_CASE("a commit by a worker whose task was settled or put back is never allowed") {
    const slot_word mine = slot_word::ready(7, 0).with(state::claimed).with_owner(3);
    const slot_word put_back = slot_word::ready(7, 1);
    CHECK(transition_allowed(mine, put_back, actor::host, 0));
    CHECK_FALSE(transition_allowed(put_back, mine.with(state::done), actor::worker, 3));
    const slot_word again = put_back.with(state::claimed).with_owner(4);
    CHECK_FALSE(transition_allowed(again, mine.with(state::done), actor::worker, 3));
}

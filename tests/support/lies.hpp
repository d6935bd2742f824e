#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstring>
#include <span>
#include <thread>

#include "process/control.hpp"
#include "process/worker_loop.hpp"
#include "ring/slot.hpp"
#include "support/until.hpp"

// What a worker can write, and plausible lies to write there: at least one for each field.

namespace prefork::test {

/// In a task: everything that its worker can write.
class grip {
  public:
    static constexpr unsigned workers = 3;
    static constexpr std::size_t queue_limit = 60;
    static constexpr unsigned seats = workers * 2 + 8;
    static constexpr std::size_t slot_count = 64;

    grip()
        : loop_(*process::worker_loop::current()),
          region(loop_.region()),
          control(region.control(), seats),
          own_block(loop_.allocate_result(4096)),
          seat(region.seat_of(own_block)) {}

    [[nodiscard]] std::span<ring::slot> slots() const {
        return {reinterpret_cast<ring::slot*>(region.ring().data()), slot_count};
    }
    /// Of the high queue, then of the low one.
    [[nodiscard]] std::span<std::atomic<std::uint64_t>> entries() const {
        return {reinterpret_cast<std::atomic<std::uint64_t>*>(region.ring().data() +
                                                              slot_count * sizeof(ring::slot)),
                2 * slot_count};
    }
    [[nodiscard]] static ring::slot_word word_of(const ring::slot& of) {
        return ring::slot_word{of.word.load()};
    }
    /// The slot of this task; of one that another worker runs; of one that waits; of none.
    [[nodiscard]] ring::slot* own() const {
        return find(ring::state::claimed, [this](auto word) { return word.owner() == seat + 1; });
    }
    [[nodiscard]] ring::slot* running() const {
        return find(ring::state::claimed, [this](auto word) {
            return word.owner() != seat + 1 && word.owner() != 0 && word.owner() <= seats &&
                   ring::same_run(ring::slot_word{journal_of(word).running.load()}, word);
        });
    }
    [[nodiscard]] ring::slot* waiting() const {
        return find(ring::state::ready, [](auto) { return true; });
    }
    [[nodiscard]] ring::slot* free() const {
        return find(ring::state::empty, [](auto) { return true; });
    }
    [[nodiscard]] process::journal& journal_of(ring::slot_word word) const {
        return control.journal_of(word.owner() - 1);
    }
    /// Of the worker that runs another task now.
    [[nodiscard]] process::journal& other_journal() const {
        return journal_of(word_of(*running()));
    }

    /// Ends this task ahead of its worker, with `kind` and `size`, and `offset` as its first bytes.
    void commit(ring::payload_kind kind, std::uint64_t size, std::uint64_t offset,
                bool refers = false) const {
        ring::slot& here = *own();
        std::memcpy(here.payload.data(), &offset, sizeof offset);
        here.description.store(ring::description{size, kind, refers}.pack());
        std::uint64_t word = here.word.load();
        while (!here.word.compare_exchange_weak(
            word, ring::slot_word{word}.with(ring::state::done).bits())) {
        }
    }
    [[nodiscard]] std::uint64_t own_offset() const { return region.offset_of(own_block); }
    [[nodiscard]] memory::result_header& own_header() const {
        return *reinterpret_cast<memory::result_header*>(own_block - sizeof(memory::result_header));
    }

  private:
    template <class Which>
    [[nodiscard]] ring::slot* find(ring::state state, Which which) const {
        for (ring::slot& each : slots()) {
            const ring::slot_word word = word_of(each);
            if (word.state() == state && which(word)) return &each;
        }
        return nullptr;
    }

    process::worker_loop& loop_;

  public:
    const memory::region& region;
    process::control control;
    std::byte* own_block;
    unsigned seat;
};

struct lie {
    const char* name;
    /// What the host has to say that it found; "": it can't know, or need not.
    const char* noticed;
    void (*tell)(const grip&);
};

/// Changes the word of a slot, if there is one, whatever it is at that moment.
template <class Change>
void rewrite(ring::slot* of, Change change) {
    if (of == nullptr) return;
    std::uint64_t word = of->word.load();
    while (!of->word.compare_exchange_weak(word, change(ring::slot_word{word}).bits())) {
    }
}
template <class Change>
void redescribe(ring::slot* of, Change change) {
    if (of == nullptr) return;
    auto what = ring::description::unpack(of->description.load());
    change(what);
    of->description.store(what.pack());
}

using ring::payload_kind;
using ring::slot_word;
using ring::state;

inline constexpr std::uint64_t huge = ~std::uint64_t{0} >> 1;
inline constexpr const char* of_task = "the word of task";

/// The position of the task that another worker runs.
inline std::uint64_t seq_of_running(const grip& g) { return grip::word_of(*g.running()).seq(); }

/// The record of a crash, and then an end that the host reads it for.
inline void leave_crash(const grip& g, int signal, std::uint32_t frames) {
    process::crash_record& record = g.control.crash_of(g.seat);
    record.signal.store(signal);
    record.code.store(SEGV_MAPERR);
    record.address.store(~std::uint64_t{0});
    for (auto& each : record.frames) each.store(0xffff800000000000);
    record.frame_count.store(frames);
    record.pid.store(::getpid());
    ::raise(SIGKILL);
}

/// The length of a result, in its slot and in its header, changes while the host reads it.
inline void flip_lengths(const grip& g) {
    ring::slot& here = *g.own();
    g.own_header().size.store(4096);
    std::thread{[&header = g.own_header().size, &here] {
        for (std::uint64_t i = 0; i < 1'000'000; ++i) {
            header.store(i % 2 == 0 ? 4096 : huge);
            auto what = ring::description::unpack(here.description.load());
            what.size = i % 3 == 0 ? 4096 : huge >> 20;
            if (what.kind == payload_kind::block) here.description.store(what.pack());
        }
    }}.detach();
    std::uint64_t count = huge;
    std::memcpy(g.own_block, &count, sizeof count);
    g.commit(payload_kind::block, 4096, g.own_offset());
}

// clang-format off: a table
inline constexpr lie lies[] = {
    // ---- hints
    {"head far ahead", "", [](const grip& g) { g.control.hints().head.store(std::uint64_t{1} << 39); }},
    {"head beyond all", "", [](const grip& g) { g.control.hints().head.store(~std::uint64_t{0}); }},
    {"head some positions ahead", "", [](const grip& g) { g.control.hints().head.fetch_add(20); }},
    {"head at zero", "", [](const grip& g) { g.control.hints().head.store(0); }},
    {"tail far ahead", "", [](const grip& g) { g.control.hints().tail.store(std::uint64_t{1} << 39); }},
    {"tail at zero", "", [](const grip& g) { g.control.hints().tail.store(0); }},
    {"everybody sleeps", "bits of sleepers", [](const grip& g) { for (auto& each : g.control.hints().idle) each.store(~std::uint64_t{0}); }},
    {"nobody sleeps", "", [](const grip& g) { for (auto& each : g.control.hints().idle) each.store(0); }},
    {"tasks put back that never were", "", [](const grip& g) { for (auto& each : g.control.hints().retry) each.store(huge); }},
    {"tasks put back that run", "", [](const grip& g) { for (auto& each : g.control.hints().retry) each.store(seq_of_running(g) + 1); }},
    {"head of the high queue beyond its tail", "head of a queue", [](const grip& g) { g.control.hints().high.head.store(huge); }},
    {"tail of the high queue beyond all", "tail of the high queue", [](const grip& g) { g.control.hints().high.tail.store(huge); }},
    {"head and tail of the low queue beyond all", "tail of the low queue", [](const grip& g) { g.control.hints().low.head.store(huge / 3); g.control.hints().low.tail.store(huge); }},
    {"positions in the queues beyond all", "", [](const grip& g) { for (auto& each : g.entries()) each.store(huge); }},
    {"room is wanted", "hint 'room_wanted'", [](const grip& g) { g.control.hints().room_wanted.store(1u << 30); }},
    {"room was made, and tasks have ended", "", [](const grip& g) { g.control.hints().room_made.store(~0u); g.control.hints().completions.store(~0u); }},
    {"everybody is woken", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.beds()[i].wakes.store(~0u); }},
    // ---- switches
    {"the pool closes", "switch 'closing'", [](const grip& g) { g.control.flags().closing.store(1); }},
    {"the pool is paused", "switch 'paused'", [](const grip& g) { g.control.flags().paused.store(1); }},
    {"pages are asked back", "", [](const grip& g) { g.control.flags().trims.store(~0u); }},
    {"a broadcast that never was", "switch 'broadcasts'", [](const grip& g) { g.control.flags().broadcasts.store(1000); }},
    {"a first broadcast outside", "switch 'first_broadcast'", [](const grip& g) { g.control.flags().first_broadcast.store(huge); g.control.flags().broadcasts.fetch_add(1); }},
    {"room for results is asked for", "", [](const grip& g) { g.control.flags().room_asked.store(~0u); }},
    // ---- journals
    {"another runs nothing", "", [](const grip& g) { g.other_journal().running.store(0); }},
    {"another runs the task of a third", "", [](const grip& g) { g.other_journal().running.store(g.own()->word.load()); }},
    {"another runs nonsense", "", [](const grip& g) { g.other_journal().running.store(huge); }},
    {"all run nonsense", "journal word 'running'", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.journal_of(i).running.store(huge); }},
    {"another has left what it runs", "", [](const grip& g) { auto& of = g.other_journal(); of.left.store(of.running.load()); }},
    {"all have left nonsense", "journal word 'left'", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.journal_of(i).left.store(huge); }},
    {"another began in the future", "", [](const grip& g) { g.other_journal().started.store(~std::uint64_t{0}); }},
    {"another began at the beginning of time", "", [](const grip& g) { g.other_journal().started.store(0); }},
    {"another has all the time there is", "", [](const grip& g) { g.other_journal().extended.store(INT64_MAX); }},
    {"another has less than no time", "", [](const grip& g) { g.other_journal().extended.store(INT64_MIN); }},
    {"another had all memory at its start", "", [](const grip& g) { g.other_journal().memory_at_start.store(~std::uint64_t{0}); }},
    {"all are to leave", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.journal_of(i).turn.store(process::turn_to_leave); }},
    {"all take the place of a worker that isn't", "journal word 'turn'", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.journal_of(i).turn.store(huge); }},
    {"all have left the pool", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.journal_of(i).turn.store(process::has_left); }},
    {"another is asked to stop", "", [](const grip& g) { auto& of = g.other_journal(); of.stop_for.store(of.running.load()); of.stops.fetch_add(1); }},
    {"all are asked to stop", "journal word 'stop_for'", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) { g.control.journal_of(i).stop_for.store(huge); g.control.journal_of(i).stops.store(~0u); } }},
    {"another counts more tasks than there are", "", [](const grip& g) { auto& of = g.other_journal().counts; for (auto* each : {&of.count, &of.failures, &of.run_sum, &of.run_min, &of.run_max, &of.queue_sum, &of.queue_min, &of.queue_max}) each->store(~std::uint64_t{0}); }},
    // ---- crash records: the host reads them when the worker is dead
    {"a crash with four billion frames", "", [](const grip& g) { leave_crash(g, SIGKILL, ~0u); }},
    {"a crash of no signal", "", [](const grip& g) { leave_crash(g, 0, 10); }},
    {"a crash of signal -1", "", [](const grip& g) { leave_crash(g, -1, 10); }},
    {"a crash of signal 1000", "", [](const grip& g) { leave_crash(g, 1000, 10); }},
    {"a trace of another's run", "", [](const grip& g) { const slot_word of = grip::word_of(*g.running()); auto& record = g.control.crash_of(of.owner() - 1); record.frame_count.store(~0u); record.traced.store(of.bits()); }},
    // ---- broadcasts
    {"all have run broadcasts to come", "the count of broadcasts", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) { g.control.progress_of(i).begun.store(~0u); g.control.progress_of(i).done.store(~0u); } }},
    {"a broadcast failed, with four billion bytes", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) { g.control.progress_of(i).failed.store(1); g.control.progress_of(i).error_bytes.store(~0u); } }},
    // ---- log rings
    {"log lines without end", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.log_rings()[i].written.store(huge); }},
    {"log lines of nonsense", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) { auto& of = g.control.log_rings()[i]; std::memset(of.bytes.data(), 0xff, of.bytes.size()); of.written.fetch_add(64); } }},
    {"log lines dropped without end", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) g.control.log_rings()[i].dropped.store(huge); }},
    {"log lines read that were never written", "", [](const grip& g) { for (unsigned i = 0; i < grip::seats; ++i) { g.control.log_rings()[i].read.store(huge); g.control.log_rings()[i].asleep.store(0); } }},
    // ---- sums of memory
    {"everybody holds the whole budget", "sum of memory", [](const grip& g) { for (auto& each : g.control.budget_words()) each.store(64u << 20); }},
    {"everybody holds more than there is", "sum of memory", [](const grip& g) { for (auto& each : g.control.budget_words()) each.store(~std::uint64_t{0}); }},
    // ---- the word of a task that waits
    {"waiting: empty", of_task, [](const grip& g) { rewrite(g.waiting(), [](slot_word) { return slot_word{}; }); }},
    {"waiting: awaited by me", of_task, [](const grip& g) { rewrite(g.waiting(), [&](slot_word w) { return w.with(state::awaited).with_owner(g.seat + 1); }); }},
    {"waiting: claimed by me", "", [](const grip& g) { rewrite(g.waiting(), [&](slot_word w) { return w.with(state::claimed).with_owner(g.seat + 1); }); }},
    {"waiting: claimed by one who knows nothing", "", [](const grip& g) { const auto of = grip::word_of(*g.running()).owner(); rewrite(g.waiting(), [&](slot_word w) { return w.with(state::claimed).with_owner(of); }); }},
    {"waiting: claimed by nobody", of_task, [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with(state::claimed); }); }},
    {"waiting: claimed by one who isn't", of_task, [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with(state::claimed).with_owner(slot_word::max_seats); }); }},
    {"waiting: done by me", "", [](const grip& g) { rewrite(g.waiting(), [&](slot_word w) { return w.with(state::done).with_owner(g.seat + 1); }); }},
    {"waiting: done by nobody", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with(state::done); }); }},
    {"waiting: in no state that there is", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with(static_cast<state>(9)); }); }},
    {"waiting: cancelled", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with(state::cancelled); }); }},
    {"waiting: the next task", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return slot_word{w.bits() + (std::uint64_t{1} << slot_word::seq_bits::low)}; }); }},
    {"waiting: another run of it", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return slot_word{slot_word::attempt_bits::set(w.bits(), 200)}; }); }},
    {"waiting: ready, with an owner", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with_owner(3); }); }},
    {"waiting: somebody sleeps and watches", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.with_waited(true).with_watched(true); }); }},
    {"waiting: nobody sleeps nor watches", "", [](const grip& g) { rewrite(g.waiting(), [](slot_word w) { return w.bare(); }); }},
    {"waiting: all of low priority", of_task, [](const grip& g) { for (auto& each : g.slots()) if (grip::word_of(each).state() == state::ready) rewrite(&each, [](slot_word w) { return w.with_low(true); }); }},
    // ---- the word of a task that another runs
    {"running: ready", "", [](const grip& g) { rewrite(g.running(), [](slot_word w) { return w.with(state::ready).with_owner(0); }); }},
    {"running: empty", "", [](const grip& g) { rewrite(g.running(), [](slot_word) { return slot_word{}; }); }},
    {"running: mine", "", [](const grip& g) { rewrite(g.running(), [&](slot_word w) { return w.with_owner(g.seat + 1); }); }},
    {"running: another run of it", "", [](const grip& g) { rewrite(g.running(), [](slot_word w) { return slot_word{slot_word::attempt_bits::set(w.bits(), 200)}; }); }},
    {"running: of another time", "", [](const grip& g) { rewrite(g.running(), [](slot_word w) { return slot_word{w.bits() + (std::uint64_t{grip::slot_count} << slot_word::seq_bits::low)}; }); }},
    {"running: timed out", "", [](const grip& g) { rewrite(g.running(), [](slot_word w) { return w.with(state::timed_out); }); }},
    {"running: lost, by nobody", "", [](const grip& g) { rewrite(g.running(), [](slot_word w) { return w.with(state::lost).with_owner(0); }); }},
    {"running: done by me", "", [](const grip& g) { rewrite(g.running(), [&](slot_word w) { return w.with(state::done).with_owner(g.seat + 1); }); }},
    {"running: done", "", [](const grip& g) { rewrite(g.running(), [](slot_word w) { return w.with(state::done); }); }},
    // ---- the word of no task
    {"free: ready", "", [](const grip& g) { rewrite(g.free(), [](slot_word) { return slot_word::ready(5, 1); }); }},
    {"free: claimed by me", "", [](const grip& g) { for (auto& each : g.slots()) if (each.word.load() == 0) rewrite(&each, [&](slot_word) { return slot_word::ready(5, 1).with(state::claimed).with_owner(g.seat + 1); }); }},
    // ---- what else is in the slot of a task that waits
    {"waiting: a function that isn't", "", [](const grip& g) { if (auto* of = g.waiting()) of->function = 0xdeadbeef; }},
    {"waiting: arguments of no kind", "", [](const grip& g) { redescribe(g.waiting(), [](auto& d) { d.kind = static_cast<payload_kind>(4000); }); }},
    {"waiting: arguments larger than all", "", [](const grip& g) { redescribe(g.waiting(), [](auto& d) { d.size = ring::description::size_bits::max; }); }},
    {"waiting: arguments in a block that isn't", "", [](const grip& g) { auto* of = g.waiting(); if (of == nullptr) return; std::memset(of->payload.data(), 0x7f, 8); redescribe(of, [](auto& d) { d.kind = payload_kind::block; d.labelled = true; }); }},
    {"waiting: a label", "", [](const grip& g) { redescribe(g.waiting(), [](auto& d) { d.labelled = true; }); }},
    {"waiting: a deadline that is over", "", [](const grip& g) { auto* of = g.waiting(); if (of == nullptr) return; of->due = 0; redescribe(of, [](auto& d) { d.timed = true; }); }},
    {"waiting: refers to arrays", "", [](const grip& g) { redescribe(g.waiting(), [](auto& d) { d.refers = true; }); }},
    {"waiting: submitted in the future", "", [](const grip& g) { if (auto* of = g.waiting()) { of->submitted = ~std::uint64_t{0}; of->number = ~std::uint64_t{0}; } }},
    // ---- results
    {"a result of no kind", "", [](const grip& g) { g.commit(static_cast<payload_kind>(4000), 8, 0); }},
    {"a result larger than its slot", "", [](const grip& g) { g.commit(payload_kind::inlined, 81, 0); }},
    {"a result larger than all", "", [](const grip& g) { g.commit(payload_kind::inlined, ring::description::size_bits::max, 0); }},
    {"an exception of nonsense", "", [](const grip& g) { g.commit(payload_kind::exception, 80, huge); }},
    {"a block outside of all", "", [](const grip& g) { g.commit(payload_kind::block, 100, huge); }},
    {"a block of arguments", "", [](const grip& g) { g.commit(payload_kind::block, 100, g.region.offset_of(g.region.arguments().data()) + 64); }},
    {"a block of another's", "", [](const grip& g) { g.commit(payload_kind::block, 100, g.region.offset_of(g.region.results((g.seat + 1) % grip::seats).data()) + 64); }},
    {"a block that isn't aligned", "", [](const grip& g) { g.commit(payload_kind::block, 100, g.own_offset() + 1); }},
    {"a block that overlaps its header", "", [](const grip& g) { g.commit(payload_kind::block, 100, g.region.offset_of(g.region.results(g.seat).data())); }},
    {"a block longer than its part", "", [](const grip& g) { g.own_header().size.store(huge); g.commit(payload_kind::block, ring::description::size_bits::max, g.own_offset()); }},
    {"a block longer than the budget", "", [](const grip& g) { g.own_header().size.store(huge); g.commit(payload_kind::block, 100u << 20, g.own_offset()); }},
    {"an exception longer than its header says", "", [](const grip& g) { g.own_header().size.store(10); g.commit(payload_kind::exception_block, 4096, g.own_offset()); }},
    {"a block that is released already", "", [](const grip& g) { g.own_header().released.store(1); g.commit(payload_kind::block, 4096, g.own_offset()); }},
    {"a result that refers to arrays, and has none", "", [](const grip& g) { g.commit(payload_kind::inlined, 4, 1, true); }},
    {"no memory for a result of no size", "", [](const grip& g) { g.commit(payload_kind::no_memory, 0, 0); }},
    {"expired, without a deadline", "", [](const grip& g) { g.commit(payload_kind::expired, 0, 0); }},
    {"lengths that change all the time", "", [](const grip& g) { flip_lengths(g); }},
};
// clang-format on

}  // namespace prefork::test

// Settling and gathering: a pool whose worker claims nothing, and whose slots, results and journals
// are written over as the input says, between what a caller does with its tasks.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "memory/result_arena.hpp"
#include "prefork/prefork.hpp"
#include "process/control.hpp"
#include "process/worker_loop.hpp"
#include "ring/slot.hpp"

namespace pf = prefork;
using pf::ring::slot;
using pf::ring::slot_word;

namespace {

constexpr std::size_t slot_count = 64;
constexpr unsigned seats = 10;

/// Where the parts of the region lie: in every process at the same address.
struct parts {
    std::uintptr_t control = 0;
    std::uintptr_t slots = 0;
    std::uintptr_t results = 0;
};

parts parts_here() {
    const pf::memory::region& region = pf::process::worker_loop::current()->region();
    return {reinterpret_cast<std::uintptr_t>(region.control().data()),
            reinterpret_cast<std::uintptr_t>(region.ring().data()),
            reinterpret_cast<std::uintptr_t>(region.results(0).data())};
}

std::string text_of(const std::string& text) { return text; }

class host {
  public:
    host() : parts_(pool_.submit(parts_here).get()) {
        pool_.pause();
        pf::set_log_handler([](const pf::log_record&) {});
    }

    void run(const std::uint8_t* data, std::size_t size) {
        constexpr std::size_t step = 18;
        for (; size >= step; data += step, size -= step) {
            std::uint64_t a = 0;
            std::uint64_t b = 0;
            std::memcpy(&a, data + 2, sizeof a);
            std::memcpy(&b, data + 10, sizeof b);
            act(data[0], data[1], a, b);
        }
        end();
    }

  private:
    struct task {
        pf::future<std::string> future;
        slot* in = nullptr;
        std::uint64_t word = 0;
    };

    void act(unsigned what, unsigned which, std::uint64_t a, std::uint64_t b) {
        if (what % 12 == 0 || tasks_.empty()) return submit(a % 300);
        task& at = tasks_[which % tasks_.size()];
        switch (what % 12) {
            case 1:  // another state, the same run
                at.in->word.store(at.word ^ (a & 0xffff));
                break;
            case 2:
                at.in->word.store(a);
                break;
            case 3:  // a result of its owner's
                at.in->word.store(
                    slot_word{at.word}.with(pf::ring::state::done).with_owner(b % seats).bits());
                break;
            case 4:
                at.in->description.store(a);
                break;
            case 5:
                at.in->description.store(
                    pf::ring::description{a % 8192, static_cast<pf::ring::payload_kind>(b % 8)}
                        .pack());
                break;
            case 6:  // where the result lies, near its worker's part
                a = a % 16384 + parts_.results - parts_.control - 64;
                std::memcpy(at.in->payload.data(), &a, sizeof a);
                break;
            case 7:
                std::memcpy(at.in->payload.data() + b % 72, &a, sizeof a);
                break;
            case 8:
                std::memcpy(reinterpret_cast<std::byte*>(parts_.results) + a % 16384 / 8 * 8, &b,
                            sizeof b);
                break;
            case 9:
                if (at.future.ready()) static_cast<void>(at.future.result());
                break;
            case 10:
                at.future.cancel();
                break;
            default:
                write_journal(a, b);
                static_cast<void>(pool_.poll());
        }
    }

    void submit(std::size_t size) {
        if (tasks_.size() > 16) return;
        auto future = pool_.try_submit(text_of, std::string(size, 'x'));
        if (!future) return;
        // The newest that waits.
        task made{std::move(*future)};
        for (slot& each : slots()) {
            const slot_word word{each.word.load()};
            if (word.state() == pf::ring::state::ready && word.seq() >= newest_) {
                newest_ = word.seq();
                made.in = &each;
                made.word = word.bits();
            }
        }
        if (made.in != nullptr) tasks_.push_back(std::move(made));
    }

    // Not those that would end the worker, or have it begin again: the process would fork all day.
    void write_journal(std::uint64_t which, std::uint64_t value) {
        const pf::process::control control{
            {reinterpret_cast<std::byte*>(parts_.control), std::size_t{1} << 21}, seats};
        pf::process::journal& notes = control.journal_of(which / 8 % seats);
        switch (which % 8) {
            case 0:
                notes.left.store(value);
                break;
            case 1:
                notes.started.store(value);
                break;
            case 2:
                notes.extended.store(static_cast<std::int64_t>(value));
                break;
            case 3:
                notes.counts.count.store(value);
                break;
            case 4:
                control.hints().completions.store(static_cast<std::uint32_t>(value));
                break;
            case 5:
                control.hints().head.store(value);
                break;
            case 6:
                control.hints().tail.store(value);
                break;
            default:
                control.crash_of(which / 8 % seats)
                    .frame_count.store(static_cast<std::uint32_t>(value));
        }
    }

    // Every slot is given back, so that the next input finds room.
    void end() {
        for (task& each : tasks_) {
            if (!each.future.valid()) continue;
            if (slot_word{each.in->word.load()}.is_terminal()) {
                static_cast<void>(each.future.result());
                continue;
            }
            each.in->word.store(each.word);
            each.future.cancel();
        }
        tasks_.clear();
    }

    [[nodiscard]] std::span<slot> slots() const {
        return {reinterpret_cast<slot*>(parts_.slots), slot_count};
    }

    pf::pool pool_{{.workers = 1, .memory_budget = 1u << 20, .queue_limit = 60}};
    parts parts_;
    std::vector<task> tasks_;
    std::uint64_t newest_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // Never destroyed: its processes end with this one.
    static auto* const one = new host;
    one->run(data, size);
    return 0;
}

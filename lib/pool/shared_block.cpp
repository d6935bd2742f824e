#include "pool/shared_block.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>

#include "memory/result_arena.hpp"
#include "pool/core.hpp"
#include "prefork/error.hpp"
#include "process/identity.hpp"
#include "process/worker_loop.hpp"

namespace prefork::detail {
namespace {

// The blocks that this process owns references to, by address, so that an array that comes back
// shares its count. One per process, for all pools: addresses are.
struct registry {
    std::mutex mutex;
    std::unordered_map<const std::byte*, shared_block*> blocks;
    const registry* inherited = nullptr;  ///< a worker's host's, which isn't looked at any more
};

// Never destroyed: arrays may be, later, as globals.
registry*& all_blocks() {
    static auto* all = new registry;
    return all;
}
registry& blocks_here() { return *all_blocks(); }

shared_block* enter(const shared_block& made) {
    auto* const block = new shared_block;
    block->what = made.what;
    block->core = made.core;
    block->data = made.data;
    block->bytes = made.bytes;
    block->memory = made.memory;
    registry& all = blocks_here();
    const std::lock_guard held{all.mutex};
    all.blocks[block->data] = block;
    return block;
}

// A new reference to a block that is known here; nullptr if it isn't, or is on its way out.
shared_block* find_and_add(const std::byte* data) {
    registry& all = blocks_here();
    const std::lock_guard held{all.mutex};
    const auto found = all.blocks.find(data);
    if (found == all.blocks.end()) return nullptr;
    found->second->references.fetch_add(1, std::memory_order_relaxed);
    return found->second;
}

void drop(shared_block* block) noexcept {
    {
        registry& all = blocks_here();
        const std::lock_guard held{all.mutex};
        // Under the lock, so that find_and_add() can't revive what is on its way out.
        if (block->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
        all.blocks.erase(block->data);
    }
    switch (block->what) {
        case shared_block::kind::argument:
            block->core->release_argument(block->memory);
            break;
        case shared_block::kind::result:
            block->core->release_result(block->data, block->core->seat_of(block->data));
            break;
        case shared_block::kind::own:
            if (!block->sent) memory::release_result(block->data);
            break;
        case shared_block::kind::heap:
            ::operator delete[](block->data, std::align_val_t{64});
            break;
        case shared_block::kind::lent:
            break;
    }
    delete block;
}

// With each task, several times. initial-exec spares it the dynamic linker's __tls_get_addr(), 22
// instructions each; a library that dlopen() loads has room for such a word in what glibc keeps for
// that purpose (rtld.optional_static_tls, 512 bytes).
[[gnu::tls_model("initial-exec")]] thread_local exchange* current_exchange = nullptr;

std::size_t checked_bytes(std::uint64_t count, std::size_t size) {
    if (count > (std::uint64_t{1} << 47) / size) {
        throw payload_too_large("a shared_array of " + std::to_string(count) + " elements of " +
                                std::to_string(size) + " bytes is larger than any memory");
    }
    return static_cast<std::size_t>(count) * size;
}

}  // namespace

void forget_inherited_blocks() {
    auto* const mine = new registry;
    mine->inherited = std::exchange(all_blocks(), mine);
}

exchange::exchange(pool_core* of, std::vector<shared_ref>* keep) noexcept
    : core(of), kept(keep), outer_(std::exchange(current_exchange, this)) {}
exchange::exchange(pool_core* of, std::vector<shared_ref>* keep,
                   std::vector<adopted>* adopt) noexcept
    : core(of), kept(keep), adoptions(adopt), outer_(std::exchange(current_exchange, this)) {}
exchange::exchange(pool_core* of, unsigned from_seat) noexcept
    : core(of), seat(from_seat), outer_(std::exchange(current_exchange, this)) {}
exchange::~exchange() { current_exchange = outer_; }
exchange* exchange::current() noexcept { return current_exchange; }

shared_ref::shared_ref(const shared_ref& other) noexcept
    : block_(other.block_), data_(other.data_), bytes_(other.bytes_) {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
}

shared_ref::~shared_ref() {
    if (block_ != nullptr) drop(block_);
}

shared_ref shared_ref::allocate(pool& from, std::uint64_t count, std::size_t size) {
    pool_core& core = core_of(from);
    if (process::current_role() == process::role::worker) return allocate_here(count, size);
    const std::size_t bytes = checked_bytes(count, size);
    const memory::block made = core.allocate_array(bytes);
    if (!made) return allocate_here(count, size);  // a pool without processes
    return own_argument(core, made, bytes);
}

shared_ref own_argument(pool_core& core, const memory::block& made, std::size_t bytes) {
    shared_block block;
    block.what = shared_block::kind::argument;
    block.core = &core;
    block.data = made.data;
    block.bytes = bytes;
    block.memory = made;
    return {enter(block), made.data, bytes};
}

shared_ref lend(std::byte* data, std::size_t bytes) {
    shared_block block;
    block.what = shared_block::kind::lent;
    block.data = data;
    block.bytes = bytes;
    return {enter(block), data, bytes};
}

shared_ref shared_ref::allocate_here(std::uint64_t count, std::size_t size) {
    const std::size_t bytes = checked_bytes(count, size);
    shared_block block;
    block.bytes = bytes;
    const exchange* const inline_run = exchange::current();
    if (process::worker_loop* const loop = process::worker_loop::current()) {
        block.what = shared_block::kind::own;
        block.data = loop->allocate_result(bytes);
    } else if (inline_run == nullptr || inline_run->core->fits_budget(bytes)) {
        block.data = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{64}));
    }
    if (block.data == nullptr) {
        throw payload_too_large("a shared_array of " + std::to_string(bytes) +
                                " bytes: no room in the memory budget");
    }
    std::memset(block.data, 0, bytes);
    std::byte* const data = block.data;
    return {enter(block), data, bytes};
}

shared_wire shared_ref::send() const {
    const shared_wire wire{reinterpret_cast<std::uint64_t>(data_), bytes_};
    exchange* const to = exchange::current();
    if (to != nullptr && to->kept != nullptr) {
        if (block_ == nullptr) return wire;
        const bool foreign = to->adoptions != nullptr && block_->core != to->core;
        to->kept->push_back(foreign ? adopt(*to) : *this);
        return {reinterpret_cast<std::uint64_t>(to->kept->back().data_), bytes_};
    }
    // A task's result on its way to the host.
    if (process::worker_loop* const loop = process::worker_loop::current()) {
        const bool own = block_ != nullptr && block_->what == shared_block::kind::own;
        loop->note_sent(own && !block_->sent ? data_ : nullptr);
        if (own) block_->sent = true;
    }
    return wire;
}

// What this is to travel as: one copy a call, however often the call names the array.
shared_ref shared_ref::adopt(exchange& to) const {
    std::vector<adopted>& all = *to.adoptions;
    const auto known = std::find_if(
        all.begin(), all.end(), [this](const adopted& each) { return each.from.block_ == block_; });
    if (known != all.end()) return known->copy;
    all.push_back({*this, {}});
    return {};
}

shared_ref shared_ref::receive(shared_wire wire, std::size_t element_size, std::size_t alignment) {
    auto* const data = reinterpret_cast<std::byte*>(wire.address);
    if (data == nullptr && wire.bytes == 0) return {};
    if (shared_block* const known = find_and_add(data)) {
        shared_ref found{known, data, known->bytes};
        if (wire.bytes != known->bytes) throw_decode_error("a shared_array of another size", 0, 0);
        return found;
    }
    // In a worker: a view of what the host keeps alive as long as the task runs.
    exchange* const from = exchange::current();
    if (const process::worker_loop* const loop = process::worker_loop::current()) {
        // Of another pool: that memory is not here. (An inline run's may be this process's own.)
        if (from == nullptr && !loop->region().contains(data, wire.bytes)) {
            throw_decode_error("a shared_array of another pool", 0,
                               static_cast<std::size_t>(wire.bytes));
        }
        return {nullptr, data, wire.bytes};
    }
    if (from == nullptr || from->core == nullptr || wire.bytes % element_size != 0 ||
        wire.address % alignment != 0 || !from->core->owns_result(from->seat, data, wire.bytes)) {
        throw_decode_error("a shared_array outside of its worker's part", 0,
                           static_cast<std::size_t>(wire.bytes));
    }
    from->core->pin(from->seat);
    shared_block block;
    block.what = shared_block::kind::result;
    block.core = from->core;
    block.data = data;
    block.bytes = wire.bytes;
    return {enter(block), data, wire.bytes};
}

}  // namespace prefork::detail

#include "memory/argument_arena.hpp"

namespace prefork::memory {

int argument_arena::secure(std::span<std::byte> bytes) {
    if (const int refused = budget_->take_pages(writer_, bytes.size()); refused != 0)
        return refused;
    const int error = region_->secure(bytes);
    if (error != 0) budget_->give_back(writer_, bytes.size());
    return error;
}

void argument_arena::release(std::span<std::byte> bytes) {
    region_->release(bytes);
    budget_->give_back(writer_, bytes.size());
}

}  // namespace prefork::memory

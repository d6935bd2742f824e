#include "memory/argument_arena.hpp"

#include <cerrno>

namespace prefork::memory {

int argument_arena::secure(std::span<std::byte> bytes) {
    if (!budget_->take(writer_, bytes.size())) return EDQUOT;
    const int error = budget_->room().take(bytes.size()) ? region_->secure(bytes) : ENOMEM;
    if (error != 0) budget_->give_back(writer_, bytes.size());
    return error;
}

void argument_arena::release(std::span<std::byte> bytes) {
    region_->release(bytes);
    budget_->give_back(writer_, bytes.size());
}

}  // namespace prefork::memory

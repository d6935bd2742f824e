#pragma once

namespace prefork::detail {

/// What PREFORK_REPLAY names: the saved task that this process is to run instead of making a pool
/// (pool_core::replay). nullptr when it isn't set, and in workers.
[[nodiscard]] const char* replay_file() noexcept;

}  // namespace prefork::detail

#pragma once

#include <csignal>

namespace prefork::base {

/// Blocks every signal in the calling thread for its lifetime. Around a fork, so that no handler of
/// the host runs in a child before the child has reset its handlers.
class all_signals_blocked {
  public:
    all_signals_blocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &previous_);
    }
    ~all_signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
    all_signals_blocked(const all_signals_blocked&) = delete;
    all_signals_blocked& operator=(const all_signals_blocked&) = delete;

  private:
    sigset_t previous_;
};

/// In a child: every disposition to its default, then `SIGINT` and `SIGPIPE` ignored, then nothing
/// blocked. Ctrl-C goes to the whole terminal group and is the host's to decide (design.md §6).
void reset_signals_in_child() noexcept;

}  // namespace prefork::base

#pragma once

#include <cstdint>
#include <type_traits>

// What the host may ask of the fork server, and what it hears back: one SOCK_SEQPACKET socket, one
// message a packet, all of one size a direction.
//
//   host → server    fork {seat, index}             make a worker
//                    end {seat}                     kill the worker: the host has no pidfd of it
//                    stop                           end all workers and yourself
//   server → host    forked {seat, pid} + pidfd     by SCM_RIGHTS
//                    fork_failed {seat, errno, text}    the call that failed; no seat: the server
//                                                   itself can't be, and ends
//                    reaped {seat, pid, code, status, peak}   as in siginfo_t; its process group
//                    is gone too
//                    started {seat, pid}            as the worker said
//                    start_failed {seat, pid, text}
//   worker → server  started or start_failed        over a pipe of its own, once; the server sets
//                                                   seat and pid and hands it on, before `reaped`

namespace prefork::process {

enum class request_kind : std::uint32_t { fork = 1, stop = 2, end = 3 };

inline constexpr std::uint32_t no_seat = ~0u;

struct request {
    request_kind kind;
    std::uint32_t seat;
    std::uint32_t index;
};

enum class message_kind : std::uint32_t { forked = 1, fork_failed, reaped, started, start_failed };

struct message {
    message_kind kind;
    std::uint32_t seat;
    std::int32_t pid;
    std::int32_t code;       ///< reaped: CLD_EXITED, CLD_KILLED, CLD_DUMPED; fork_failed: errno
    std::int32_t status;     ///< reaped: exit status or signal
    std::uint32_t peak_kib;  ///< reaped: resident at most
    char text[488];          ///< start_failed: why; fork_failed: which call; ended by a zero
};

static_assert(std::is_trivially_copyable_v<request> && std::is_trivially_copyable_v<message>);
static_assert(sizeof(message) == 512);

}  // namespace prefork::process

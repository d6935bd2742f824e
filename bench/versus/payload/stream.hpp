#pragma once

#include <cstdint>
#include <vector>

#include "bench/support/other_process.hpp"
#include "bench/versus/support/whole.hpp"
#include "workload.hpp"

namespace prefork::versus {

/// The ends of two streams between the host and its worker.
struct stream_ends {
    int host_in;
    int host_out;
    int worker_in;
    int worker_out;
};

/// The length, then the bytes, over a stream; what the worker has seen comes back.
class stream {
  public:
    explicit stream(stream_ends ends) : ends_(ends), worker_([this] { serve(); }) {}

    [[nodiscard]] std::uint64_t hand_over(payload bytes) const {
        std::uint64_t size = bytes.size();
        std::uint64_t answer = 0;
        if (!write_whole(ends_.host_out, bytes_of(size)) || !write_whole(ends_.host_out, bytes) ||
            !read_whole(ends_.host_in, bytes_of(answer))) {
            wrong_answer("the stream ends");
        }
        return answer;
    }

  private:
    void serve() const {
        std::vector<std::byte> received;
        for (std::uint64_t size = 0; read_whole(ends_.worker_in, bytes_of(size));) {
            received.resize(size);
            if (!read_whole(ends_.worker_in, received)) return;
            std::uint64_t answer = seen(received);
            if (!write_whole(ends_.worker_out, bytes_of(answer))) return;
        }
    }

    stream_ends ends_;
    bench::other_process worker_;
};

}  // namespace prefork::versus

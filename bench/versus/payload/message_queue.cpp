// Boost.Interprocess message queues, the one with room for one message of the payload's size.
#include "bench/versus/support/message_queue.hpp"

#include <algorithm>
#include <memory>

#include "bench/support/other_process.hpp"
#include "workload.hpp"

namespace {

using namespace prefork::versus;

class channel {
  public:
    explicit channel(std::size_t size)
        : there_("there", 1, size),
          back_("back", 1, sizeof(std::uint64_t)),
          worker_([this, size] { serve(size); }) {}

    std::uint64_t hand_over(payload bytes) {
        std::uint64_t answer = 0;
        there_.put(bytes.data(), bytes.size());
        back_.get(&answer, sizeof answer);
        return answer;
    }

  private:
    [[noreturn]] void serve(std::size_t size) {
        for (std::vector<std::byte> received(size);;) {
            const std::size_t got = there_.get(received.data(), size);
            const std::uint64_t answer = seen(payload{received}.first(got));
            back_.put(&answer, sizeof answer);
        }
    }

    interprocess_queue there_;
    interprocess_queue back_;
    prefork::bench::other_process worker_;
};

}  // namespace

int main(int argc, char** argv) {
    return measure(argc, argv, [](payload bytes) {
        // At least a byte: a queue has no messages of no size.
        const auto worker = std::make_shared<channel>(std::max<std::size_t>(bytes.size(), 1));
        return [worker, bytes] { return worker->hand_over(bytes); };
    });
}

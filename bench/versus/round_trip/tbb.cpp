// oneTBB: a task enqueued to an arena of one thread, the caller asleep until it is done.
#include <tbb/task_arena.h>

#include <atomic>

#include "workload.hpp"

int main(int argc, char** argv) {
    tbb::task_arena arena{1, 0};
    std::atomic<int> answer{0};
    return prefork::versus::measure(argc, argv, [&](int number) {
        answer.store(0, std::memory_order_relaxed);
        arena.enqueue([&answer, number] {
            answer.store(prefork::versus::task(number), std::memory_order_release);
            answer.notify_one();
        });
        answer.wait(0, std::memory_order_acquire);
        return answer.load(std::memory_order_relaxed);
    });
}

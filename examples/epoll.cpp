// Results in an event loop: one descriptor to watch, callbacks and coroutines that run in poll().
#include <sys/epoll.h>
#include <unistd.h>

#include <coroutine>
#include <iostream>
#include <prefork/prefork.hpp>
#include <string>

namespace pf = prefork;

std::string render(int page) { return "page " + std::to_string(page); }

// The least that a coroutine needs: it runs at once, and frees itself at its end.
struct routine {
    struct promise_type {
        routine get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

routine serve(pf::pool& pool) {
    for (int request = 1; request <= 3; ++request) {
        const std::string page = co_await pool.submit(render, request);
        std::cout << "served " << page << '\n';
    }
}

int main() {
    pf::pool pool;
    const int loop = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{EPOLLIN, {}};
    ::epoll_ctl(loop, EPOLL_CTL_ADD, pool.event_fd(), &event);

    std::string title;
    pool.submit(render, 0).on_ready(
        [&](const pf::expected<std::string>& page) { title = page.value_or("nothing"); });
    serve(pool);
    while (!pool.poll()) ::epoll_wait(loop, &event, 1, -1);
    std::cout << "called back with " << title << '\n';
    ::close(loop);
}

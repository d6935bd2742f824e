#pragma once

#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <utility>

#include "prefork/pool.hpp"

namespace prefork {

/// Has an executor of Boost.Asio call pool::poll() whenever there is something to do: callbacks of
/// future::on_ready() and coroutines then run there. One handler is outstanding as long as this
/// lives, so the context runs until it is destroyed or cancel() is called.
///
/// What a callback throws comes out of the context's run(), and polling goes on. One thread at a
/// time, or a strand; the pool must live as long.
class asio_poller {
  public:
    /// `idle` is called after a poll() that left nothing outstanding. \throws
    /// boost::system::system_error
    template <class Executor>
    asio_poller(const Executor& executor, pool& of, std::function<void()> idle = {})
        : pool_(&of), idle_(std::move(idle)), descriptor_(executor, ::dup(of.event_fd())) {
        wait();
    }
    asio_poller(const asio_poller&) = delete;
    asio_poller& operator=(const asio_poller&) = delete;

    /// No further polls.
    void cancel() { descriptor_.cancel(); }

  private:
    void wait() {
        descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                               [this](const boost::system::error_code& error) {
                                   // Cancelled: this may be gone.
                                   if (!error) poll();
                               });
    }
    void poll() {
        wait();  // first, so that it goes on whatever a callback throws
        if (pool_->poll() && idle_) idle_();
    }

    pool* pool_;
    std::function<void()> idle_;
    // A duplicate, for it closes what it holds.
    boost::asio::posix::stream_descriptor descriptor_;
};

}  // namespace prefork

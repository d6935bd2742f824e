#include "process/identity.hpp"

#include <unistd.h>

#include <string>

#include "prefork/error.hpp"
#include "support/catch.hpp"
#include "support/in_child.hpp"

using namespace prefork;
using namespace prefork::test;
using process::host_mark;
using process::role;

TEST_CASE("the mark is here in the process that made it, and in none that it forks") {
    const host_mark mark;
    CHECK(mark.is_here());
    mark.require("render");
    CHECK(in_child([&] { return mark.is_here() ? 1 : 0; }) == child_end{});
    CHECK(mark.is_here());
}

TEST_CASE("in a forked process require() throws wrong_process with the pool's name") {
    const host_mark mark;
    CHECK(in_child([&] {
              try {
                  mark.require("render");
              } catch (const wrong_process& e) {
                  return e.what() == std::string(
                                         "pool 'render' was made by the process that this "
                                         "one was forked from")
                             ? 0
                             : 1;
              }
              return 2;
          }) == child_end{});
}

TEST_CASE("a forked process has marks of its own") {
    const host_mark mark;
    CHECK(in_child([&] {
              const host_mark own;
              return own.is_here() && !mark.is_here() ? 0 : 1;
          }) == child_end{});
}

TEST_CASE("only a worker, and what its task forks, has the role of one") {
    CHECK(process::current_role() == role::host);
    CHECK(in_child([] { return process::current_role() == role::host ? 0 : 1; }) == child_end{});
    CHECK(in_child([] {
              process::become_worker(5);
              if (process::current_role() != role::worker) return 1;
              if (process::worker_index() != 5) return 2;
              const auto inner =
                  in_child([] { return process::current_role() == role::worker ? 0 : 1; });
              return inner == child_end{} ? 0 : 3;
          }) == child_end{});
}

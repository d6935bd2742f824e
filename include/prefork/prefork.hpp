#pragma once

// All of it. The codecs that need a library are included where that library's headers are there; a
// program that uses neither links neither.

#include "prefork/error.hpp"
#include "prefork/future.hpp"
#include "prefork/gate.hpp"
#include "prefork/pool.hpp"
#include "prefork/ranges.hpp"
#include "prefork/shared_array.hpp"
#include "prefork/stats.hpp"
#include "prefork/task_group.hpp"
#include "prefork/worker.hpp"

#pragma once

// All of it. The codecs that need a library are included where that library's headers are there; a
// program that uses neither links neither.

#include "prefork/codec.hpp"
#include "prefork/error.hpp"
#include "prefork/expected.hpp"
#include "prefork/future.hpp"
#include "prefork/gate.hpp"
#include "prefork/log.hpp"
#include "prefork/pool.hpp"
#include "prefork/ranges.hpp"
#include "prefork/shared_array.hpp"
#include "prefork/stats.hpp"
#include "prefork/stream.hpp"
#include "prefork/task_group.hpp"
#include "prefork/when.hpp"
#include "prefork/worker.hpp"

// These libraries throw: without exceptions there is codec::raw.
#if __has_include(<msgpack.hpp>) && defined(__cpp_exceptions)
#include "prefork/codec/msgpack.hpp"
#endif
#if __has_include(<boost/archive/binary_oarchive.hpp>) && defined(__cpp_exceptions)
#include "prefork/codec/boost_archive.hpp"
#endif

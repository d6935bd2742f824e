#pragma once

/// What the shared library shows. Exceptions carry it too: without it a `catch` in the user's
/// program does not link against a library built with hidden visibility.
#define PREFORK_EXPORT __attribute__((visibility("default")))

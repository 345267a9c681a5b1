#pragma once

#include "mpeft/core/strings.h"

namespace mpeft {
/// Throws std::logic_error naming the place; for our own bugs only, never for what a user can cause.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line, const std::string& message);
}  // namespace mpeft

/// MPEFT_ASSERT(condition, parts...): an invariant of our own code. Active in every build.
#define MPEFT_ASSERT(condition, ...)                                                                        \
  do {                                                                                                      \
    if (!(condition)) ::mpeft::assertion_failed(#condition, __FILE__, __LINE__, ::mpeft::str(__VA_ARGS__)); \
  } while (false)

#include "mpeft/core/check.h"

#include <stdexcept>

namespace mpeft {

void assertion_failed(const char* expression, const char* file, int line, const std::string& message) {
  throw std::logic_error(str("internal error: ", message, " (", expression, " is false at ", file, ":", line, ")"));
}

}  // namespace mpeft

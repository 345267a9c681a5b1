#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::checkpoint {

/// 'text' for a message: names come from files, so control characters and what is not UTF-8 are made visible and long
/// ones are cut.
std::string quote(std::string_view text);

/// As quote(), without the quotation marks.
std::string printable(std::string_view text);

/// "[2, 3]".
template <typename Sizes>
std::string shape_text(const Sizes& sizes) {
  std::string out = "[";
  for (size_t i = 0; i < sizes.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(sizes[i]);
  return out + "]";
}

/// Throws CheckpointError with the parts, streamed one after the other.
template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw CheckpointError(str(parts...));
}

/// What a file that is not what its name says looks like from its first bytes (" It looks like a Git LFS pointer …"),
/// "" when that tells nothing.
std::string guess_what_it_is(std::string_view file);

}  // namespace mpeft::checkpoint

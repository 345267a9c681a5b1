#pragma once

#include <string>

namespace mpeft::app {

std::string version();     ///< "0.1.0"
std::string git_commit();  ///< of the source tree when it was built, "+" behind it where the tree had changes;
                           ///< "unknown" outside a clone

/// Several lines: version, commit, LibTorch, CUDA kernels, processor capability.
std::string version_text();

}  // namespace mpeft::app

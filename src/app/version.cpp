#include "app/version.h"

#include <torch/version.h>

#include "kernels/common/cpu_features.h"
#include "kernels/registration.h"
#include "mpeft/core/strings.h"

#include "git_commit.h"  // written at each build by cmake/GitCommit.cmake

namespace mpeft::app {

std::string version() { return MPEFT_VERSION; }
std::string git_commit() { return MPEFT_GIT_COMMIT; }

std::string version_text() {
  return mpeft::str("mamba-peft ", version(), " (commit ", git_commit(), ")\nLibTorch    ", TORCH_VERSION,
                    "\nCUDA        ", ops::built_with_cuda() ? MPEFT_CUDA_TEXT : "not built in", "\nprocessor   ",
                    kernels::to_string(kernels::cpu_capability()), "\n");
}

}  // namespace mpeft::app

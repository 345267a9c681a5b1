#include "kernels/registration.h"

#include <torch/library.h>

namespace mpeft::ops {

#define MPEFT_OP(name) void register_##name(torch::Library& library);
#include "kernels/ops.def"
#undef MPEFT_OP

void ensure_registered() {}

bool built_with_cuda() {
#ifdef MPEFT_HAS_CUDA
  return true;
#else
  return false;
#endif
}

}  // namespace mpeft::ops

TORCH_LIBRARY(mpeft, library) {
  (void)library;
#define MPEFT_OP(name) mpeft::ops::register_##name(library);
#include "kernels/ops.def"
#undef MPEFT_OP
}

#include "kernels/common/vec_portable.h"
// The Vec of this unit comes first.
#include "kernels/causal_conv1d/cpu_simd.h"

namespace mpeft::kernels {

template <typename scalar_t>
CausalConv1dTasks<scalar_t> causal_conv1d_tasks_baseline() {
  return conv_tasks<scalar_t>();
}

template CausalConv1dTasks<float> causal_conv1d_tasks_baseline();
template CausalConv1dTasks<BFloat16> causal_conv1d_tasks_baseline();
template CausalConv1dTasks<Half> causal_conv1d_tasks_baseline();

}  // namespace mpeft::kernels

#include "kernels/common/vec_avx512.h"
// The Vec of this unit comes first.
#include "kernels/rms_norm/cpu_simd.h"

namespace mpeft::kernels {

template <typename scalar_t>
RmsNormTasks<scalar_t> rms_norm_tasks_avx512() {
  return norm_tasks<scalar_t>();
}

template RmsNormTasks<float> rms_norm_tasks_avx512();
template RmsNormTasks<BFloat16> rms_norm_tasks_avx512();
template RmsNormTasks<Half> rms_norm_tasks_avx512();

}  // namespace mpeft::kernels

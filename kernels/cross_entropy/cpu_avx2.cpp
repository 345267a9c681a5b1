#include "kernels/common/vec_avx2.h"
// The Vec of this unit comes first.
#include "kernels/cross_entropy/cpu_simd.h"

namespace mpeft::kernels {

template <typename scalar_t>
CrossEntropyTasks<scalar_t> cross_entropy_tasks_avx2() {
  return entropy_tasks<scalar_t>();
}

template CrossEntropyTasks<float> cross_entropy_tasks_avx2();
template CrossEntropyTasks<BFloat16> cross_entropy_tasks_avx2();
template CrossEntropyTasks<Half> cross_entropy_tasks_avx2();

}  // namespace mpeft::kernels

#include "kernels/common/vec_portable.h"
// The Vec of this unit comes first.
#include "kernels/cross_entropy/cpu_simd.h"

namespace mpeft::kernels {

template <typename scalar_t>
CrossEntropyTasks<scalar_t> cross_entropy_tasks_baseline() {
  return entropy_tasks<scalar_t>();
}

template CrossEntropyTasks<float> cross_entropy_tasks_baseline();
template CrossEntropyTasks<BFloat16> cross_entropy_tasks_baseline();
template CrossEntropyTasks<Half> cross_entropy_tasks_baseline();

}  // namespace mpeft::kernels

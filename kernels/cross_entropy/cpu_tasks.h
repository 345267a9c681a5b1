#pragma once

#include "kernels/cross_entropy/cross_entropy_params.h"

// defines: CrossEntropyTasks, cross_entropy_tasks_{baseline,avx2,avx512}
//
// What a translation unit compiled for one instruction set offers: the work on rows [begin, end).

namespace mpeft::kernels {

template <typename scalar_t>
struct CrossEntropyTasks {
  void (*fwd)(const CrossEntropyFwdParams<scalar_t>& p, int64_t begin, int64_t end);
  void (*bwd)(const CrossEntropyBwdParams<scalar_t>& p, int64_t begin, int64_t end);
};

// For float, BFloat16 and Half. The last two exist on x86-64 only.
template <typename scalar_t>
CrossEntropyTasks<scalar_t> cross_entropy_tasks_baseline();
template <typename scalar_t>
CrossEntropyTasks<scalar_t> cross_entropy_tasks_avx2();
template <typename scalar_t>
CrossEntropyTasks<scalar_t> cross_entropy_tasks_avx512();

}  // namespace mpeft::kernels

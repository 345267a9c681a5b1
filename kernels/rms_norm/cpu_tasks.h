#pragma once

#include "kernels/rms_norm/rms_norm_params.h"

// defines: RmsNormTasks, rms_norm_tasks_{baseline,avx2,avx512}
//
// What a translation unit compiled for one instruction set offers: the work on a block of rows.

namespace mpeft::kernels {

/// Rows of one task; a backward task leaves one partial sum of dweight.
inline constexpr int64_t kNormRows = 32;

template <typename scalar_t>
struct RmsNormTasks {
  void (*fwd)(const RmsNormFwdParams<scalar_t>& p, int64_t block);
  void (*bwd)(const RmsNormBwdParams<scalar_t>& p, int64_t block,
              float* dweight);  ///< dweight (n_blocks, d_model) or null
};

// For float, BFloat16 and Half. The last two exist on x86-64 only.
template <typename scalar_t>
RmsNormTasks<scalar_t> rms_norm_tasks_baseline();
template <typename scalar_t>
RmsNormTasks<scalar_t> rms_norm_tasks_avx2();
template <typename scalar_t>
RmsNormTasks<scalar_t> rms_norm_tasks_avx512();

}  // namespace mpeft::kernels

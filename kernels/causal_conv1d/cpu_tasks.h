#pragma once

#include "kernels/causal_conv1d/causal_conv1d_params.h"

// defines: CausalConv1dPartials, CausalConv1dTasks, causal_conv1d_tasks_{baseline,avx2,avx512}
//
// What a translation unit compiled for one instruction set offers: the work on one row and one chunk of channels (as in
// kernels/selective_scan/cpu_tasks.h).

namespace mpeft::kernels {

/// Channels of one task.
inline constexpr int64_t kConvChunk = 128;
/// Steps that a task works on at a time before it goes to the next channels.
inline constexpr int64_t kConvTile = 32;

/// Gradients that rows share, one copy a row, to be summed in order. Null: not wanted.
struct CausalConv1dPartials {
  float* dweight = nullptr;  ///< (batch, d_inner, width)
  float* dbias = nullptr;    ///< (batch, d_inner)
};

template <typename scalar_t>
struct CausalConv1dTasks {
  int64_t scratch;  ///< floats
  void (*fwd)(const CausalConv1dFwdParams<scalar_t>& p, int64_t row, int64_t chunk, float* scratch);
  void (*bwd)(const CausalConv1dBwdParams<scalar_t>& p, const CausalConv1dPartials& partials, int64_t row,
              int64_t chunk, float* scratch);
};

// For float, BFloat16 and Half. The last two exist on x86-64 only.
template <typename scalar_t>
CausalConv1dTasks<scalar_t> causal_conv1d_tasks_baseline();
template <typename scalar_t>
CausalConv1dTasks<scalar_t> causal_conv1d_tasks_avx2();
template <typename scalar_t>
CausalConv1dTasks<scalar_t> causal_conv1d_tasks_avx512();

}  // namespace mpeft::kernels

#pragma once

#include "kernels/selective_scan/selective_scan_params.h"

// defines: SelectiveScanPartials, SelectiveScanTasks, selective_scan_tasks_{baseline,avx2,avx512}
//
// What a translation unit compiled for one instruction set offers: the work on one row and one chunk of channels.
// cpu.cpp cuts the scan into such tasks, runs them on threads and adds up what they leave. How it is cut depends on the
// shape alone, so results do not depend on the number of threads.

namespace mpeft::kernels {

/// Steps between two kept states, and the steps that a task works on at a time (its buffers fit the first-level cache).
inline constexpr int64_t kScanTile = 16;
/// Channels of one task. A backward task leaves a (seqlen, d_state) partial sum of dB and dC: larger chunks, less of
/// them.
inline constexpr int64_t kScanChunk = 128;

/// Gradients that tasks share, one copy a task, to be summed in order. Null: not wanted.
struct SelectiveScanPartials {
  float* dB = nullptr;  ///< (n_chunks, n_tokens, d_state); steps of padding are left alone
  float* dC = nullptr;  ///< same
  float* dA = nullptr;  ///< (batch, d_inner, d_state); so are the five below
  float* dstate_offset = nullptr;
  float* dB_scale = nullptr;
  float* dB_bias = nullptr;
  float* dC_scale = nullptr;
  float* dC_bias = nullptr;
  float* dD = nullptr;           ///< (batch, d_inner)
  float* ddelta_bias = nullptr;  ///< (batch, d_inner)
  float* dout_offset = nullptr;  ///< (batch, d_inner)
};

template <typename scalar_t>
struct SelectiveScanTasks {
  int64_t (*fwd_scratch)(int64_t d_state, bool with_terms);  ///< floats; with_terms: has_state_terms
  void (*fwd)(const SelectiveScanFwdParams<scalar_t>& p, int64_t row, int64_t chunk, float* scratch);
  int64_t (*bwd_scratch)(int64_t d_state, bool with_terms);
  void (*bwd)(const SelectiveScanBwdParams<scalar_t>& p, const SelectiveScanPartials& partials, int64_t row,
              int64_t chunk, float* scratch);
};

// For float, BFloat16 and Half. The last two exist on x86-64 only.
template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_baseline();
template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_avx2();
template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_avx512();

}  // namespace mpeft::kernels

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
/// Channels that are one piece of work: a backward leaves a (seqlen, d_state) partial sum of dB and dC for each. Larger
/// chunks, less of them.
inline constexpr int64_t kScanChunk = 128;
/// Chunks of a row that a task takes at most, tile by tile: each page of the inputs is then visited once and in order.
/// Their states (and A and two gradients) lie in the second-level cache: 384 KiB.
inline int64_t scan_chunks_together(int64_t d_state) { return d_state < 256 ? 256 / d_state : 1; }

/// Chunks [begin, end) of a row.
struct ChunkRange {
  int64_t begin, end;
};

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
  /// floats; with_terms: has_state_terms
  int64_t (*fwd_scratch)(int64_t n_chunks, int64_t d_state, bool with_terms);
  void (*fwd)(const SelectiveScanFwdParams<scalar_t>& p, int64_t row, const ChunkRange& chunks, float* scratch);
  int64_t (*bwd_scratch)(int64_t n_chunks, int64_t d_state, bool with_terms);
  void (*bwd)(const SelectiveScanBwdParams<scalar_t>& p, const SelectiveScanPartials& partials, int64_t row,
              const ChunkRange& chunks, float* scratch);
};

// For float, BFloat16 and Half. The last two exist on x86-64 only.
template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_baseline();
template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_avx2();
template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_avx512();

}  // namespace mpeft::kernels

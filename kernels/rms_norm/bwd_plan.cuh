#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/cuda_vector.cuh"
#include "kernels/rms_norm/rms_norm_params.h"

// defines: kBwdMaxThreads, RmsNormBwdPlan, plan_bwd
//
// How the backward is shared out, a function of the shape and the pointers' alignment alone. What a thread has of a
// row, and with it the order in which a row is summed, does not depend on which gradients are wanted: dx is the same
// bits with dweight and without.

namespace mpeft::kernels {

/// Threads of a block at most, when each holds so many elements of a row. 768 keeps the kernel with dweight at 80
/// registers: with more, fewer blocks fit than loads are needed in flight. 8 elements of fp32 would spill there.
template <typename scalar_t, int kElements>
inline constexpr int kBwdMaxThreads = sizeof(scalar_t) * kElements == 32 ? 640 : 768;

struct RmsNormBwdPlan {
  bool vectors;     ///< 4 elements an access
  bool short_rows;  ///< 4 elements a thread, and with dweight two rows at a time; longer rows: 8
  bool tail;        ///< rows are longer than what a block holds
  int threads;      ///< of a row
  int blocks;       ///< with dweight
};

template <typename scalar_t>
RmsNormBwdPlan plan_bwd(const RmsNormBwdParams<scalar_t>& p) {
  auto quotient_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  RmsNormBwdPlan plan{};
  plan.vectors = p.d_model % 4 == 0 && is_vector_aligned(p.dout) && is_vector_aligned(p.dresidual_out) &&
                 is_vector_aligned(p.residual_out) && is_vector_aligned(p.weight) && is_vector_aligned(p.dx) &&
                 is_vector_aligned(p.dresidual);
  plan.short_rows = plan.vectors && p.d_model <= 1024;
  const bool eight = plan.vectors && !plan.short_rows;
  const int64_t columns = eight ? 8 : 4;  // of one thread
  plan.threads = static_cast<int>(std::min<int64_t>(eight ? kBwdMaxThreads<scalar_t, 8> : kBwdMaxThreads<scalar_t, 4>,
                                                    quotient_up(quotient_up(p.d_model, columns), 32) * 32));
  plan.tail = p.d_model > plan.threads * columns;
  // 128 times a power of two, so that the usual numbers of rows are shared out evenly, and no more than 128
  // multiprocessors of 64 K registers hold at once (800 threads each); then as few as that number of steps needs
  int most = 128;
  while (most < 1024 && 2 * most / 128 * plan.threads <= 800) most *= 2;
  const int64_t steps = quotient_up(p.rows, plan.short_rows ? 2 : 1);
  plan.blocks = static_cast<int>(quotient_up(steps, quotient_up(steps, most)));
  return plan;
}

}  // namespace mpeft::kernels

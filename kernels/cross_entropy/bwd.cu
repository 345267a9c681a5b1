// Cross entropy, backward of the form that keeps the logits.
//
// Equation and layouts: cross_entropy_params.h.
// Mapping: a block of 512 threads a row, as in the forward.
// Accumulation: none; float arithmetic.
// Limits: fewer than 2^31 rows and columns; rows of logits and dlogits that lie differently against 16 bytes take the
//   kVec = 1 instance.
#include "kernels/cross_entropy/cross_entropy_launch.h"
#include "kernels/cross_entropy/row.cuh"

namespace mpeft::kernels {
namespace {

template <typename scalar_t, int kVec>
__global__ void __launch_bounds__(kRowThreads) cross_entropy_bwd_kernel(CrossEntropyBwdParams<scalar_t> p) {
  const int64_t row = blockIdx.x;
  const scalar_t* const logits = p.logits + row * p.row_stride;
  scalar_t* const dlogits = p.dlogits + row * p.columns;
  const int64_t label = p.labels[row];
  if (label == p.ignore_index) return write_zeros(dlogits, 0, p.columns);

  const float scale = gradient_scale_of(p, label, p.dlosses[row]), largest = p.normaliser[2 * row],
              log_sum = p.normaliser[2 * row + 1];
  const RowSpan span = span_of<scalar_t, kVec>(logits, p.n_valid);
#pragma unroll 4
  for (int v = threadIdx.x; v < span.vectors; v += kRowThreads) {
    const int64_t column = span.head + static_cast<int64_t>(v) * kVec;
    float x[kVec];
    load_floats(x, logits + column);
    gradient_of(x, column, label, largest, log_sum, scale);
    store_floats(dlogits + column, x);
  }
  write_ends(dlogits, logits, span, p.n_valid, label, largest, log_sum, scale);
  write_zeros(dlogits, p.n_valid, p.columns);
}

}  // namespace

template <typename scalar_t>
cudaError_t launch_cross_entropy_bwd(const CrossEntropyBwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX || p.columns > INT32_MAX || p.n_valid < 1 || p.n_valid > p.columns)
    return cudaErrorInvalidValue;
  constexpr int kVec = kVectorElements<scalar_t>;
  const bool alike = (reinterpret_cast<uintptr_t>(p.logits) - reinterpret_cast<uintptr_t>(p.dlogits)) % 16 == 0 &&
                     (p.row_stride - p.columns) % kVec == 0;
  if (alike) {
    cross_entropy_bwd_kernel<scalar_t, kVec><<<static_cast<unsigned>(p.rows), kRowThreads, 0, stream>>>(p);
  } else {
    cross_entropy_bwd_kernel<scalar_t, 1><<<static_cast<unsigned>(p.rows), kRowThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

template cudaError_t launch_cross_entropy_bwd(const CrossEntropyBwdParams<float>&, cudaStream_t);
template cudaError_t launch_cross_entropy_bwd(const CrossEntropyBwdParams<__nv_bfloat16>&, cudaStream_t);
template cudaError_t launch_cross_entropy_bwd(const CrossEntropyBwdParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels

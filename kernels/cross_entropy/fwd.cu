// Cross entropy, forward, and its gradient in place of the logits.
//
// Equation and layouts: cross_entropy_params.h.
// Mapping: a block of 512 threads a row; a thread owns 16-byte vectors threadIdx, threadIdx + 512, .... One pass keeps
// a
//   running maximum and sum of exponentials a thread and leaves the row in shared memory, which the gradient is made
//   from: one read and one write of the logits. Two blocks share a multiprocessor, so that one loads while the other
//   stores; what of a row does not fit in half of its shared memory is read again, from the cache.
// Accumulation: float; threads are combined in a fixed order.
// Limits: fewer than 2^31 rows and columns; rows may start anywhere.
#include <algorithm>

#include "kernels/cross_entropy/cross_entropy_launch.h"
#include "kernels/cross_entropy/row.cuh"

namespace mpeft::kernels {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();
constexpr int kUnroll = 4;  // vectors a thread has on their way from memory

/// Sum of exp(x - largest) over what has been read, and where the largest is.
struct Running {
  float largest = kMinusInfinity;
  float sum = 0.f;
  int64_t column = 0;  // of the largest, the first of equals
};

/// exp(x - largest); a largest of -inf stands for "nothing read yet" and any x is -inf then.
__device__ __forceinline__ float exp_below(float x, float largest) {
  return exp2_approx((x - (largest == kMinusInfinity ? 0.f : largest)) * kLog2e);
}

template <bool kPredict, int kVec>
__device__ __forceinline__ void add(Running& r, const float (&x)[kVec], int64_t column) {
  float largest = x[0];
#pragma unroll
  for (int i = 1; i < kVec; ++i) largest = fmaxf(largest, x[i]);
  if (largest > r.largest) {
    r.sum *= exp_below(r.largest, largest);
    r.largest = largest;
    if constexpr (kPredict) {
#pragma unroll
      for (int i = kVec - 1; i >= 0; --i) {
        if (x[i] == largest) r.column = column + i;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kVec; ++i) r.sum += exp_below(x[i], r.largest);
}

template <bool kPredict>
__device__ __forceinline__ void merge(Running& a, const Running& b) {
  const float largest = fmaxf(a.largest, b.largest);
  a.sum = a.sum * exp_below(a.largest, largest) + b.sum * exp_below(b.largest, largest);
  if constexpr (kPredict) {
    if (b.largest > a.largest || (b.largest == a.largest && b.column < a.column)) a.column = b.column;
  }
  a.largest = largest;
}

/// The block's result, in every thread.
template <bool kPredict>
__device__ __forceinline__ Running merge_over_block(Running r) {
  constexpr int kWarps = kRowThreads / 32;
  __shared__ Running of_warp[kWarps];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    Running other;
    other.largest = __shfl_down_sync(0xffffffffu, r.largest, offset);
    other.sum = __shfl_down_sync(0xffffffffu, r.sum, offset);
    if constexpr (kPredict) other.column = __shfl_down_sync(0xffffffffu, r.column, offset);
    merge<kPredict>(r, other);
  }
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = r;
  __syncthreads();
  r = of_warp[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) merge<kPredict>(r, of_warp[warp]);
  return r;
}

template <typename scalar_t, bool kPredict>
__global__ void __launch_bounds__(kRowThreads, 2)
    cross_entropy_fwd_kernel(CrossEntropyFwdParams<scalar_t> p, int cached_vectors) {
  constexpr int kVec = kVectorElements<scalar_t>;
  using Raw = RawVector<scalar_t, kVec>;
  extern __shared__ uint4 cache[];

  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x;
  const scalar_t* const logits = p.logits + row * p.row_stride;
  const RowSpan span = span_of<scalar_t, kVec>(logits, p.n_valid);
  const scalar_t* const body = logits + span.head;
  const int64_t label = p.labels[row];
  const bool is_ignored = label == p.ignore_index;
  const bool is_label = label >= 0 && label < p.n_valid;
  // the gradient takes the logit's place before the loss is written
  const float at_label = lane == 0 && is_label ? to_float(logits[label]) : 0.f;

  Running r;
  if (lane < span.head) {
    const float x[1] = {to_float(logits[lane])};
    add<kPredict>(r, x, lane);
  }
  for (int first = lane; first < span.vectors; first += kUnroll * kRowThreads) {
    Raw raw[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int v = first + u * kRowThreads;
      if (v < span.vectors) raw[u].load(body + static_cast<int64_t>(v) * kVec);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int v = first + u * kRowThreads;
      if (v >= span.vectors) break;
      if (v < cached_vectors) cache[v] = make_uint4(raw[u].words[0], raw[u].words[1], raw[u].words[2], raw[u].words[3]);
      float x[kVec];
      raw[u].widen(x);
      add<kPredict>(r, x, span.head + static_cast<int64_t>(v) * kVec);
    }
  }
  if (lane < span.tail) {
    const int64_t column = p.n_valid - span.tail + lane;
    const float x[1] = {to_float(logits[column])};
    add<kPredict>(r, x, column);
  }

  r = merge_over_block<kPredict>(r);
  const float log_sum = logf(r.sum);
  if (lane == 0) {
    const float loss = is_label ? (r.largest - at_label) + log_sum : __int_as_float(0x7fffffff);
    p.losses[row] = is_ignored ? 0.f : loss;
    if (p.normaliser != nullptr) {
      p.normaliser[2 * row] = r.largest;
      p.normaliser[2 * row + 1] = log_sum;
    }
    if (kPredict) p.predicted[row] = r.column;
  }
  if (p.dlogits == nullptr) return;

  scalar_t* const dlogits = p.dlogits + row * p.row_stride;
  if (is_ignored) return write_zeros(dlogits, 0, p.columns);
  const float scale = gradient_scale_of(p, label, static_cast<float>(p.gradient_scale));
#pragma unroll 4
  for (int v = lane; v < span.vectors; v += kRowThreads) {
    Raw raw;
    if (v < cached_vectors) {
      const uint4 words = cache[v];  // written by this thread
      raw.words[0] = words.x, raw.words[1] = words.y, raw.words[2] = words.z, raw.words[3] = words.w;
    } else {
      raw.load(body + static_cast<int64_t>(v) * kVec);
    }
    float x[kVec];
    raw.widen(x);
    const int64_t column = span.head + static_cast<int64_t>(v) * kVec;
    gradient_of(x, column, label, r.largest, log_sum, scale);
    store_floats(dlogits + column, x);
  }
  write_ends(dlogits, logits, span, p.n_valid, label, r.largest, log_sum, scale);
  write_zeros(dlogits, p.n_valid, p.columns);
}

/// The most shared memory that a row may take, bytes: two blocks fit on a multiprocessor with that.
cudaError_t cache_capacity(int& bytes) {
  int device = 0, per_block = 0, per_sm = 0, reserved = 0;
  if (const cudaError_t e = cudaGetDevice(&device); e != cudaSuccess) return e;
  if (const cudaError_t e = cudaDeviceGetAttribute(&per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
      e != cudaSuccess)
    return e;
  if (const cudaError_t e = cudaDeviceGetAttribute(&per_sm, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
      e != cudaSuccess)
    return e;
  if (const cudaError_t e = cudaDeviceGetAttribute(&reserved, cudaDevAttrReservedSharedMemoryPerBlock, device);
      e != cudaSuccess)
    return e;
  constexpr int kStatic = 1024;  // of_warp, rounded up
  bytes = std::max(std::min(per_sm / 2 - reserved, per_block) - kStatic, 0) / 16 * 16;
  return cudaSuccess;
}

template <typename scalar_t, bool kPredict>
cudaError_t launch(const CrossEntropyFwdParams<scalar_t>& p, cudaStream_t stream) {
  const auto kernel = cross_entropy_fwd_kernel<scalar_t, kPredict>;
  int bytes = 0;
  if (p.dlogits != nullptr) {
    const int64_t row_bytes = p.n_valid * static_cast<int64_t>(sizeof(scalar_t)) / 16 * 16;
    int capacity = 0;
    if (const cudaError_t e = cache_capacity(capacity); e != cudaSuccess) return e;
    // Always the same limit: another thread that launches this kernel for shorter rows must not lower it in between.
    if (const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, capacity);
        e != cudaSuccess)
      return e;
    bytes = static_cast<int>(std::min<int64_t>(row_bytes, capacity));
  }
  kernel<<<static_cast<unsigned>(p.rows), kRowThreads, bytes, stream>>>(p, bytes / 16);
  return cudaGetLastError();
}

}  // namespace

template <typename scalar_t>
cudaError_t launch_cross_entropy_fwd(const CrossEntropyFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX || p.columns > INT32_MAX || p.n_valid < 1 || p.n_valid > p.columns ||
      (p.dlogits != nullptr && p.dlogits != p.logits))
    return cudaErrorInvalidValue;
  return p.predicted != nullptr ? launch<scalar_t, true>(p, stream) : launch<scalar_t, false>(p, stream);
}

template cudaError_t launch_cross_entropy_fwd(const CrossEntropyFwdParams<float>&, cudaStream_t);
template cudaError_t launch_cross_entropy_fwd(const CrossEntropyFwdParams<__nv_bfloat16>&, cudaStream_t);
template cudaError_t launch_cross_entropy_fwd(const CrossEntropyFwdParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels

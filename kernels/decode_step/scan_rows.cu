// dt_proj, softplus, the scan's step and the gate of a decode step, for many rows.
//
// Equation and layouts: decode_step_params.h.
// Mapping: a block of 128 threads has 32 channels of up to 8 rows. Everything it reads is on its way to shared memory
//   at once; dt_proj is 2 tiles of 16 channels x 8 rows on the tensor cores; then 4 lanes a channel, 4 states each,
//   walk the rows, and finish one of 4 rows each.
// Accumulation: float.
// Limits: d_state 16, dt_rank a multiple of 16 (of 8 when delta is given), d_inner of 32, all 16-byte aligned. Others
//   take scan.cu.
#include "kernels/common/async_copy.cuh"
#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/decode_step/overlap.cuh"
#include "kernels/decode_step/scan_rows.h"
#include "kernels/decode_step/tensor_core.cuh"

namespace mpeft::kernels {
namespace {

constexpr int kLanes = 4, kThreads = 128, kChannels = kThreads / kLanes, kRows = 8, kStates = 16;
// Up to here it helps to fetch the states while the kernel before still runs (measured: 7.9 MB, -0.5 us a layer);
// more of them are in the way of what that kernel reads itself (10.5 MB +1.1 us, 12.6 MB +1.7 us).
constexpr int64_t kMaxEarlyBytes = 8 << 20;
// Of fewer channels, those of all rows together, the blocks are too few to fill the SMs (measured beside scan.cu:
// 25,000 +1.3 us a layer, 61,000 -2.7 us).
constexpr int64_t kMinChannels = 32768;

/// Dynamic shared memory; behind it the rows of x_dbl and of dt_proj, each padded by 16 bytes against bank conflicts.
template <typename scalar_t>
struct ScanTile {
  float4 state[kRows][kThreads];
  float2 delta[kRows][kChannels + 2];  // delta, delta u; padded as well
  alignas(16) scalar_t u[kRows][kChannels];
  alignas(16) scalar_t z[kRows][kChannels];  // then y

  static __host__ __device__ int dt_pitch(int64_t dt_rank) { return static_cast<int>(dt_rank) + 8; }
  static __host__ __device__ int x_dbl_pitch(int64_t dt_rank) { return static_cast<int>(dt_rank) + 2 * kStates + 8; }
  static size_t bytes(int64_t dt_rank, bool has_dt) {
    const int elements = kRows * x_dbl_pitch(dt_rank) + (has_dt ? kChannels * dt_pitch(dt_rank) : 0);
    return sizeof(ScanTile) + elements * sizeof(scalar_t);
  }
  __device__ scalar_t* x_dbl() { return reinterpret_cast<scalar_t*>(this + 1); }
  __device__ scalar_t* dt_weight(int64_t dt_rank) { return x_dbl() + kRows * x_dbl_pitch(dt_rank); }
};

/// Rows of n elements, a multiple of 8, by all threads: kThreadsOfRow for each row.
template <int kThreadsOfRow, typename scalar_t>
__device__ __forceinline__ void copy_rows(scalar_t* to, int to_pitch, const scalar_t* from, int64_t from_pitch,
                                          int n_rows, int n) {
  for (int row = static_cast<int>(threadIdx.x) / kThreadsOfRow; row < n_rows; row += kThreads / kThreadsOfRow) {
    for (int column = threadIdx.x % kThreadsOfRow * 8; column < n; column += 8 * kThreadsOfRow)
      copy_async(to + row * to_pitch + column, from + row * from_pitch + column, true);
  }
}

/// From 4 lanes' values of 4 rows: lane i gets the sum of row i's.
__device__ __forceinline__ float sum_of_own_row(const float (&x)[4], int lane) {
  const bool upper = lane & 2, odd = lane & 1;
  float a = upper ? x[2] : x[0], b = upper ? x[3] : x[1];
  a += __shfl_xor_sync(0xffffffffu, upper ? x[0] : x[2], 2);
  b += __shfl_xor_sync(0xffffffffu, upper ? x[1] : x[3], 2);
  return (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 1);
}

template <typename scalar_t>
__global__ void __launch_bounds__(kThreads, 8)
    decode_scan_rows_kernel(DecodeScanParams<scalar_t> p, bool fetches_early) {
  extern __shared__ uint4 shared[];
  auto& tile = *reinterpret_cast<ScanTile<scalar_t>*>(shared);
  scalar_t *const x_dbl = tile.x_dbl(), *const dt_weight = tile.dt_weight(p.dt_rank);
  const int dt_rank = static_cast<int>(p.dt_rank), n_columns = dt_rank + 2 * kStates;
  const int x_dbl_pitch = tile.x_dbl_pitch(p.dt_rank), dt_pitch = tile.dt_pitch(p.dt_rank);
  const int thread = threadIdx.x, channel = thread / kLanes, lane = thread % kLanes;
  const int64_t first_channel = static_cast<int64_t>(blockIdx.x) * kChannels;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kRows;
  const int n_rows = static_cast<int>(min(static_cast<int64_t>(kRows), p.rows - first_row));
  const bool has_dt = p.dt_weight != nullptr;

  // constants first: they do not wait
  if (has_dt) copy_rows<4>(dt_weight, dt_pitch, p.dt_weight + first_channel * p.dt_rank, p.dt_rank, kChannels, dt_rank);
  float a[4];
  load_floats(a, p.A + (first_channel + channel) * kStates + 4 * lane);
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] *= kLog2e;
  const float skip = p.D[first_channel + channel];
  // The states come from memory, all else from the cache. A thread's 128 bytes of the block's; whose they are is not
  // known yet, but most often a row continues itself, or another that is continued too.
  constexpr int kLines = kChannels * kStates / 32;
  static_assert(kRows * kLines == kThreads);
  if (const int row = thread / kLines; fetches_early && row < n_rows) {
    const int64_t from = min(first_row + row, p.state_rows - 1);
    prefetch_to_second_level(p.state + (from * p.d_inner + first_channel) * kStates + thread % kLines * 32);
  }
  wait_for_previous_kernel();

  copy_rows<16>(x_dbl, x_dbl_pitch, p.x_dbl + first_row * n_columns, n_columns, n_rows, n_columns);
  copy_rows<4>(tile.u[0], kChannels, p.u + first_row * p.d_inner + first_channel, p.d_inner, n_rows, kChannels);
  copy_rows<4>(tile.z[0], kChannels, p.z + first_row * p.z_row_stride + first_channel, p.z_row_stride, n_rows,
               kChannels);
  copy_async_commit();
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (row < n_rows) {
      const int64_t from = p.parents != nullptr ? p.parents[first_row + row] : first_row + row;
      copy_async(&tile.state[row][thread], p.state + (from * p.d_inner + first_channel) * kStates + 4 * thread, true);
    }
    if (row % 4 == 3) copy_async_commit();
  }
  copy_async_wait<2>();
  __syncthreads();

  const auto set_delta = [&](int row, int c, float dt) {
    float delta = dt + p.dt_bias[first_channel + c];
    delta = delta > 20.f ? delta : log1pf(expf(delta));
    tile.delta[row][c] = make_float2(delta, delta * to_float(tile.u[row][c]));
  };
  if (!has_dt) {
    for (int i = thread; i < n_rows * kChannels; i += kThreads) {
      const int row = i / kChannels, c = i % kChannels;
      set_delta(row, c, to_float(p.delta[(first_row + row) * p.d_inner + first_channel + c]));
    }
  } else if (thread < 64) {
    const int warp = thread / 32, group = thread % 32 / 4, quarter = lane;
    float sum[4] = {};
    for (int k = 4 * quarter; k < dt_rank; k += 16) {
      const auto two = [](const scalar_t* from) { return *reinterpret_cast<const uint2*>(from); };
      const uint2 low = two(dt_weight + (16 * warp + group) * dt_pitch + k);
      const uint2 high = two(dt_weight + (16 * warp + group + 8) * dt_pitch + k);
      const uint2 row = two(x_dbl + group * x_dbl_pitch + k);
      multiply_add(sum, scalar_t{}, low.x, high.x, low.y, high.y, row.x, row.y);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 2 * quarter + i % 2, c = 16 * warp + group + i / 2 * 8;
      if (row < n_rows) set_delta(row, c, to_float(from_float<scalar_t>(sum[i])));
    }
  }
  __syncthreads();

  float* const state_out = p.state_out + (first_row * p.d_inner + first_channel) * kStates + 4 * thread;
#pragma unroll
  for (int first = 0; first < kRows; first += 4) {
    if (first >= n_rows) break;
    // each thread reads the states that it copied itself
    if (first == 0) {
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    float y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first + i;
      const float2 delta = tile.delta[row][channel];
      const float4 before = tile.state[row][thread];
      float h[4] = {before.x, before.y, before.z, before.w}, B[4], C[4];
      load_floats(B, x_dbl + row * x_dbl_pitch + dt_rank + 4 * lane);
      load_floats(C, x_dbl + row * x_dbl_pitch + dt_rank + kStates + 4 * lane);
      y[i] = 0.f;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        h[n] = fmaf(exp2_approx(delta.x * a[n]), h[n], delta.y * B[n]);
        y[i] = fmaf(C[n], h[n], y[i]);
      }
      // streaming: nobody reads them before the next step, when the cache has forgotten them anyway
      if (row < n_rows)
        __stcs(reinterpret_cast<float4*>(state_out + row * p.d_inner * kStates), make_float4(h[0], h[1], h[2], h[3]));
    }
    const float sum = sum_of_own_row(y, lane);
    const int row = first + lane;
    const float u = to_float(tile.u[row][channel]), z = to_float(tile.z[row][channel]);
    tile.z[row][channel] = from_float<scalar_t>(fmaf(skip, u, sum) * z * sigmoid<scalar_t>(z));
  }
  __syncthreads();
  constexpr int kVectors = kChannels / 8;
  if (const int row = thread / kVectors; row < n_rows) {
    const int c = thread % kVectors * 8;
    *reinterpret_cast<uint4*>(p.y + (first_row + row) * p.d_inner + first_channel + c) =
        *reinterpret_cast<const uint4*>(&tile.z[row][c]);
  }
}

}  // namespace

template <typename scalar_t>
bool decode_scan_rows_suits(const DecodeScanParams<scalar_t>& p) {
  const bool has_dt = p.dt_weight != nullptr;
  return p.rows * p.d_inner >= kMinChannels && p.d_state == kStates && p.dt_rank % (has_dt ? 16 : 8) == 0 &&
         p.d_inner % kChannels == 0 && p.d_inner / kChannels <= INT32_MAX && p.rows <= kRows * 65535 &&
         is_vector_aligned(p.u) && is_vector_aligned(p.z, p.z_row_stride) && is_vector_aligned(p.x_dbl) &&
         is_vector_aligned(p.dt_weight) && is_vector_aligned(p.A) && is_vector_aligned(p.state) &&
         is_vector_aligned(p.state_out) && is_vector_aligned(p.y) &&
         ScanTile<scalar_t>::bytes(p.dt_rank, has_dt) <= 64 * 1024;
}

template <typename scalar_t>
cudaError_t launch_decode_scan_rows(const DecodeScanParams<scalar_t>& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(p.d_inner / kChannels), static_cast<unsigned>((p.rows + kRows - 1) / kRows));
  const bool fetches_early = p.state_rows > 0 && 4 * p.rows * p.d_inner * kStates <= kMaxEarlyBytes;
  return launch_overlapping(decode_scan_rows_kernel<scalar_t>, grid, dim3(kThreads),
                            ScanTile<scalar_t>::bytes(p.dt_rank, p.dt_weight != nullptr), stream, p, fetches_early);
}

#define MPEFT_INSTANTIATE(scalar_t)                                        \
  template bool decode_scan_rows_suits(const DecodeScanParams<scalar_t>&); \
  template cudaError_t launch_decode_scan_rows(const DecodeScanParams<scalar_t>&, cudaStream_t);
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels

// The products of a decode step: y = x W^T for a few rows, and in_proj with the convolution's step behind it.
//
// Equation and layouts: decode_step_params.h.
// Mapping: a block of 8 warps an output tile of 16 features and up to 40 rows (skinny_product.cuh); grid (features /
// 16,
//   parts of the rows).
// Accumulation: float, in the order of in_features' blocks and then of the warps.
// Limits: at most 40 rows, in_features a multiple of 32, d_inner of 16, width 2 to 4, rows and weights 16-byte aligned.
#include <type_traits>

#include "kernels/common/cuda_math.cuh"
#include "kernels/decode_step/conv_window.cuh"
#include "kernels/decode_step/skinny_product.cuh"

namespace mpeft::kernels {
namespace {

template <typename scalar_t, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, 2) decode_linear_kernel(DecodeLinearParams<scalar_t> p) {
  __shared__ SkinnyTile<kRowTiles> tile;
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * kTileFeatures;
  const int n_outputs = static_cast<int>(p.rows) * kTileFeatures;
  skinny_product(tile, p, first_feature, [] {});
  for (int i = threadIdx.x; i < n_outputs; i += kProductThreads) {
    const int row = i / kTileFeatures, feature = i % kTileFeatures;
    if (first_feature + feature >= p.out_features) continue;
    p.y[row * p.out_features + first_feature + feature] = from_float<scalar_t>(tile.value(row, feature));
  }
}

template <typename scalar_t, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, 2)
    decode_in_proj_conv_kernel(DecodeLinearParams<scalar_t> p, DecodeConvParams<scalar_t> conv, scalar_t* z) {
  __shared__ SkinnyTile<kRowTiles> tile;
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * kTileFeatures;
  const int n_outputs = static_cast<int>(p.rows) * kTileFeatures;
  const bool is_z = first_feature >= conv.d_inner;  // a tile is all x or all z
  // the window of this thread's first output, on its way while the product is computed
  ConvWindow<scalar_t> window;
  const int first = threadIdx.x;
  skinny_product(tile, p, first_feature, [&] {
    if (!is_z && first < n_outputs) window.load(conv, first / kTileFeatures, first_feature + first % kTileFeatures);
  });
  for (int i = first; i < n_outputs; i += kProductThreads) {
    const int64_t row = i / kTileFeatures, feature = first_feature + i % kTileFeatures;
    const scalar_t stored = from_float<scalar_t>(tile.value(i / kTileFeatures, i % kTileFeatures));
    if (is_z) {
      z[row * conv.d_inner + feature - conv.d_inner] = stored;
    } else {
      if (i != first) window.load(conv, row, feature);
      window.step(conv, row, feature, stored);
    }
  }
}

template <typename scalar_t>
__global__ void __launch_bounds__(256) decode_conv_kernel(DecodeConvParams<scalar_t> p) {
  wait_for_previous_kernel();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.d_inner) return;
  const int64_t row = i / p.d_inner, channel = i % p.d_inner;
  ConvWindow<scalar_t> window;
  window.load(p, row, channel);
  window.step(p, row, channel, p.x[row * p.x_row_stride + channel]);
}

}  // namespace

template <typename scalar_t>
bool decode_linear_fits(const DecodeLinearParams<scalar_t>& p) {
  return p.rows >= 1 && p.rows <= kMaxDecodeRows && p.in_features >= 32 && p.in_features % 32 == 0 &&
         p.out_features >= 1 && is_vector_aligned(p.x) && is_vector_aligned(p.weight);
}

template <typename scalar_t>
cudaError_t launch_decode_linear(const DecodeLinearParams<scalar_t>& p, cudaStream_t stream) {
  if (!decode_linear_fits(p)) return cudaErrorInvalidValue;
  const int64_t tiles_of_features = (p.out_features + kTileFeatures - 1) / kTileFeatures;
  if (tiles_of_features > INT32_MAX) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(tiles_of_features));
  return with_row_tiles(p.rows, [&](auto tiles) {
    return launch_overlapping(decode_linear_kernel<scalar_t, tiles.value>, grid, dim3(kProductThreads), stream, p);
  });
}

template <typename scalar_t>
cudaError_t launch_decode_in_proj_conv(const DecodeLinearParams<scalar_t>& p, const DecodeConvParams<scalar_t>& conv,
                                       scalar_t* z, cudaStream_t stream) {
  if (!decode_linear_fits(p) || conv.d_inner % kTileFeatures != 0 || p.out_features != 2 * conv.d_inner ||
      conv.width < 2 || conv.width > kMaxWidth)
    return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(p.out_features / kTileFeatures));
  return with_row_tiles(p.rows, [&](auto tiles) {
    return launch_overlapping(decode_in_proj_conv_kernel<scalar_t, tiles.value>, grid, dim3(kProductThreads), stream, p,
                              conv, z);
  });
}

template <typename scalar_t>
cudaError_t launch_decode_conv(const DecodeConvParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.d_inner == 0) return cudaSuccess;
  const int64_t blocks = (p.rows * p.d_inner + 255) / 256;
  if (p.width < 2 || p.width > kMaxWidth || blocks > INT32_MAX) return cudaErrorInvalidValue;
  return launch_overlapping(decode_conv_kernel<scalar_t>, dim3(static_cast<unsigned>(blocks)), dim3(256), stream, p);
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                            \
  template bool decode_linear_fits(const DecodeLinearParams<scalar_t>&);                                       \
  template cudaError_t launch_decode_linear(const DecodeLinearParams<scalar_t>&, cudaStream_t);                \
  template cudaError_t launch_decode_in_proj_conv(const DecodeLinearParams<scalar_t>&,                         \
                                                  const DecodeConvParams<scalar_t>&, scalar_t*, cudaStream_t); \
  template cudaError_t launch_decode_conv(const DecodeConvParams<scalar_t>&, cudaStream_t);
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels

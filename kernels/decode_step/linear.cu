// The products of a decode step: y = x W^T for a few rows, and in_proj with the convolution's step behind it.
//
// Equation and layouts: decode_step_params.h.
// Mapping: a block of 8 warps an output tile, 16 features and 8 or 16 rows (skinny_product.cuh) or more of both
//   (wide_product.cuh); grid (tiles of features, parts of the rows).
// Accumulation: float, in the order of in_features' blocks and then of the warps.
// Limits: in_features a multiple of 32, d_inner of 16, width 2 to 4, all 16-byte aligned.
#include <type_traits>

#include "kernels/common/cuda_math.cuh"
#include "kernels/decode_step/conv_window.cuh"
#include "kernels/decode_step/skinny_product.cuh"
#include "kernels/decode_step/wide_linear.cuh"

namespace mpeft::kernels {
namespace {

template <typename scalar_t, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, 2) decode_linear_kernel(DecodeLinearParams<scalar_t> p) {
  __shared__ SkinnyTile<kRowTiles> tile;
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * kTileFeatures;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * tile.kRows;
  const int n_outputs = static_cast<int>(min(static_cast<int64_t>(tile.kRows), p.rows - first_row)) * kTileFeatures;
  skinny_product(tile, p, first_feature, first_row, [] {});
  for (int i = threadIdx.x; i < n_outputs; i += kProductThreads) {
    const int row = i / kTileFeatures, feature = i % kTileFeatures;
    if (first_feature + feature >= p.out_features) continue;
    p.y[(first_row + row) * p.out_features + first_feature + feature] = from_float<scalar_t>(tile.value(row, feature));
  }
}

template <typename scalar_t, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, 2)
    decode_in_proj_conv_kernel(DecodeLinearParams<scalar_t> p, DecodeConvParams<scalar_t> conv, scalar_t* z) {
  __shared__ SkinnyTile<kRowTiles> tile;
  const int64_t first_feature = static_cast<int64_t>(blockIdx.x) * kTileFeatures;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * tile.kRows;
  const int n_outputs = static_cast<int>(min(static_cast<int64_t>(tile.kRows), p.rows - first_row)) * kTileFeatures;
  const bool is_z = first_feature >= conv.d_inner;  // a tile is all x or all z
  // the window of this thread's first output, on its way while the product is computed
  ConvWindow<scalar_t> window;
  const int first = threadIdx.x;
  skinny_product(tile, p, first_feature, first_row, [&] {
    if (!is_z && first < n_outputs)
      window.load(conv, first_row + first / kTileFeatures, first_feature + first % kTileFeatures);
  });
  for (int i = first; i < n_outputs; i += kProductThreads) {
    const int64_t row = first_row + i / kTileFeatures, feature = first_feature + i % kTileFeatures;
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

dim3 grid_of(int64_t out_features, int64_t features_of_tile, int64_t n_parts) {
  return dim3(static_cast<unsigned>((out_features + features_of_tile - 1) / features_of_tile),
              static_cast<unsigned>(n_parts));
}

/// Parts of at most kRows rows, as equal as multiples of 8 are.
template <int kRows>
int rows_of_part(int64_t rows) {
  const int64_t n_parts = (rows + kRows - 1) / kRows;
  return static_cast<int>(((rows + n_parts - 1) / n_parts + 7) / 8 * 8);
}

template <typename scalar_t, int kRowTiles>
cudaError_t launch_linear(const DecodeLinearParams<scalar_t>& p, SkinnyTile<kRowTiles>*, cudaStream_t stream) {
  constexpr int kRows = SkinnyTile<kRowTiles>::kRows;
  return launch_overlapping(decode_linear_kernel<scalar_t, kRowTiles>,
                            grid_of(p.out_features, kTileFeatures, (p.rows + kRows - 1) / kRows), dim3(kProductThreads),
                            0, stream, p);
}

template <typename scalar_t, int kRowTiles>
cudaError_t launch_in_proj_conv(const DecodeLinearParams<scalar_t>& p, const DecodeConvParams<scalar_t>& conv,
                                scalar_t* z, SkinnyTile<kRowTiles>*, cudaStream_t stream) {
  constexpr int kRows = SkinnyTile<kRowTiles>::kRows;
  return launch_overlapping(decode_in_proj_conv_kernel<scalar_t, kRowTiles>,
                            grid_of(p.out_features, kTileFeatures, (p.rows + kRows - 1) / kRows), dim3(kProductThreads),
                            0, stream, p, conv, z);
}

template <typename scalar_t, int... kShape>
cudaError_t launch_linear(const DecodeLinearParams<scalar_t>& p, WideTile<kShape...>*, cudaStream_t stream) {
  using Tile = WideTile<kShape...>;
  const int part = rows_of_part<Tile::kRows>(p.rows);
  return launch_overlapping(decode_linear_wide_kernel<scalar_t, Tile>,
                            grid_of(p.out_features, Tile::kFeatures, (p.rows + part - 1) / part), dim3(kWideThreads),
                            sizeof(Tile), stream, p, part);
}

template <typename scalar_t, int... kShape>
cudaError_t launch_in_proj_conv(const DecodeLinearParams<scalar_t>& p, const DecodeConvParams<scalar_t>& conv,
                                scalar_t* z, WideTile<kShape...>*, cudaStream_t stream) {
  using Tile = WideTile<kShape...>;
  const int part = rows_of_part<Tile::kRows>(p.rows);
  return launch_overlapping(decode_in_proj_conv_wide_kernel<scalar_t, Tile>,
                            grid_of(p.out_features, Tile::kFeatures, (p.rows + part - 1) / part), dim3(kWideThreads),
                            sizeof(WideInProjTile<scalar_t, Tile>), stream, p, conv, z, part);
}

using LargestTile = WideTile<64, 80, 4>;

/// What the choice of a tile depends on; zeros when there is no device.
struct Device {
  int n_sms = 0, shared_bytes = 0;

  static Device current() {
    Device d;
    int id = 0;
    if (cudaGetDevice(&id) != cudaSuccess ||
        cudaDeviceGetAttribute(&d.n_sms, cudaDevAttrMultiProcessorCount, id) != cudaSuccess ||
        cudaDeviceGetAttribute(&d.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, id) != cudaSuccess) {
      return {};
    }
    return d;
  }
  bool has_wide_tiles() const { return shared_bytes >= static_cast<int>(sizeof(WideInProjTile<__half, LargestTile>)); }

  /// True when no SM gets more than one of the tiles.
  template <typename Tile>
  bool has_room(int64_t rows, int64_t out_features) const {
    return (out_features + Tile::kFeatures - 1) / Tile::kFeatures * ((rows + Tile::kRows - 1) / Tile::kRows) <= n_sms;
  }
};

/// Calls launch(null pointer to a tile) for the smallest tile that the device has room for: with smaller ones the
/// weights or the rows are brought in more often than SMs are gained.
template <typename Launch>
cudaError_t with_tile(int64_t rows, int64_t out_features, const Launch& launch) {
  const Device device = Device::current();
  const auto has_room = [&](auto* tile) {
    return device.has_room<std::remove_pointer_t<decltype(tile)>>(rows, out_features);
  };
  SkinnyTile<1>* const rows8 = nullptr;
  SkinnyTile<2>* const rows16 = nullptr;
  WideTile<32, 16, 6>* const wide16 = nullptr;
  WideTile<32, 40, 6>* const wide40 = nullptr;
  WideTile<64, 40, 4>* const wider40 = nullptr;
  LargestTile* const largest = nullptr;
  if (rows <= 8 || has_room(rows8)) return launch(rows8);
  // the others write 4 features at a time
  if (has_room(rows16) || !device.has_wide_tiles() || out_features % 4 != 0) return launch(rows16);
  if (has_room(wide16)) return launch(wide16);
  if (has_room(wide40)) return launch(wide40);
  if (has_room(wider40) || rows <= kAlwaysDecodeRows) return launch(wider40);
  return launch(largest);
}

}  // namespace

template <typename scalar_t>
bool decode_linear_fits(const DecodeLinearParams<scalar_t>& p) {
  if (p.rows < 1 || p.in_features < 32 || p.in_features % 32 != 0 || p.out_features < 1 || p.out_features > INT32_MAX ||
      !is_vector_aligned(p.x) || !is_vector_aligned(p.weight) || !is_vector_aligned(p.y)) {
    return false;
  }
  if (p.rows <= kAlwaysDecodeRows) return true;
  const Device device = Device::current();
  return p.rows <= kMaxDecodeRows && device.has_wide_tiles() && device.has_room<LargestTile>(p.rows, p.out_features);
}

template <typename scalar_t>
bool decode_in_proj_conv_fits(const DecodeLinearParams<scalar_t>& p, const DecodeConvParams<scalar_t>& conv) {
  return decode_linear_fits(p) && conv.d_inner % kTileFeatures == 0 && p.out_features == 2 * conv.d_inner &&
         conv.width >= 2 && conv.width <= kMaxWidth && is_vector_aligned(conv.weight) && is_vector_aligned(conv.bias) &&
         is_vector_aligned(conv.state) && is_vector_aligned(conv.state_out) && is_vector_aligned(conv.u);
}

template <typename scalar_t>
cudaError_t launch_decode_linear(const DecodeLinearParams<scalar_t>& p, cudaStream_t stream) {
  if (!decode_linear_fits(p)) return cudaErrorInvalidValue;
  return with_tile(p.rows, p.out_features, [&](auto* tile) { return launch_linear(p, tile, stream); });
}

template <typename scalar_t>
cudaError_t launch_decode_in_proj_conv(const DecodeLinearParams<scalar_t>& p, const DecodeConvParams<scalar_t>& conv,
                                       scalar_t* z, cudaStream_t stream) {
  if (!decode_in_proj_conv_fits(p, conv) || !is_vector_aligned(z)) return cudaErrorInvalidValue;
  return with_tile(p.rows, p.out_features, [&](auto* tile) { return launch_in_proj_conv(p, conv, z, tile, stream); });
}

template <typename scalar_t>
cudaError_t launch_decode_conv(const DecodeConvParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.d_inner == 0) return cudaSuccess;
  const int64_t blocks = (p.rows * p.d_inner + 255) / 256;
  if (p.width < 2 || p.width > kMaxWidth || blocks > INT32_MAX) return cudaErrorInvalidValue;
  return launch_overlapping(decode_conv_kernel<scalar_t>, dim3(static_cast<unsigned>(blocks)), dim3(256), 0, stream, p);
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                               \
  template bool decode_linear_fits(const DecodeLinearParams<scalar_t>&);                                          \
  template bool decode_in_proj_conv_fits(const DecodeLinearParams<scalar_t>&, const DecodeConvParams<scalar_t>&); \
  template cudaError_t launch_decode_linear(const DecodeLinearParams<scalar_t>&, cudaStream_t);                   \
  template cudaError_t launch_decode_in_proj_conv(const DecodeLinearParams<scalar_t>&,                            \
                                                  const DecodeConvParams<scalar_t>&, scalar_t*, cudaStream_t);    \
  template cudaError_t launch_decode_conv(const DecodeConvParams<scalar_t>&, cudaStream_t);
MPEFT_INSTANTIATE(__nv_bfloat16)
MPEFT_INSTANTIATE(__half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels

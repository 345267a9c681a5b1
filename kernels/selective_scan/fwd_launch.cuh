#pragma once

// Which forward kernel runs. One .cu file a scalar type instantiates this, so that they compile in parallel.
#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/fwd_any.cuh"
#include "kernels/selective_scan/fwd_kernel.cuh"
#include "kernels/selective_scan/fwd_roles.cuh"

namespace mpeft::kernels {
namespace fwd {

template <typename scalar_t>
inline constexpr bool kMatrix = std::is_same_v<scalar_t, __nv_bfloat16>;

//                  lanes, states, channels a lane, warps, steps, polynomials of 8, blocks, matrix sum, unroll
using DState8 = FwdShape<4, 2, 1, 4, 16, 0, 6>;
template <typename scalar_t>
using DState16FewChannels = FwdShape<8, 2, 1, 4, 32, 0, 5, kMatrix<scalar_t>, 2>;
using DState16Channels12k = FwdShape<8, 2, 2, 4, 32, 0, 5, false, 2>;
using DState16Channels18k = FwdShape<4, 4, 1, 4, 32, 0, 5, false, 2>;
using DState16Channels32k = FwdShape<4, 4, 2, 4, 16, 1, 4, false, 2>;
template <typename scalar_t>
using DState16Terms = FwdShape<8, 2, 1, 4, 32, 0, 4, kMatrix<scalar_t>, 1>;
using DState32 = FwdShape<8, 4, 1, 4, 16, 0, 4>;
using DState64 = FwdShape<8, 8, 1, 4, 16, 0, 4>;

//                 channels a warp; warps that scan, prepare, finish; steps, blocks
using RolesFewChannels = RolesShape<4, 4, 2, 2, 32, 3>;
using RolesSomeChannels = RolesShape<8, 4, 2, 2, 32, 3>;
using RolesManyChannels = RolesShape<16, 4, 2, 2, 32, 2>;
using RolesShortRows = RolesShape<16, 4, 1, 1, 16, 3>;
inline constexpr int64_t kShortRow = 256;  ///< steps, of rows on average

template <typename Shape, bool kWithTerms = false, typename scalar_t>
cudaError_t launch_tiled(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  const bool state_vectors = is_tile_aligned(p.B) && is_tile_aligned(p.C);
  selective_scan_fwd_kernel<scalar_t, Shape, kWithTerms>
      <<<scan_grid(p.batch, p.d_inner, Shape::kChannels), Shape::kThreads, 0, stream>>>(p, state_vectors);
  return cudaGetLastError();
}

template <typename scalar_t>
cudaError_t launch_any(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  const int64_t blocks = (p.batch * p.d_inner + kAnyWarps - 1) / kAnyWarps;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  selective_scan_fwd_any_kernel<<<static_cast<unsigned>(blocks), kAnyWarps * 32, 0, stream>>>(p);
  return cudaGetLastError();
}

template <typename Shape>
inline constexpr int kRolesBytes = static_cast<int>(sizeof(fwd_roles::Shared<Shape>));

template <typename Shape>
cudaError_t launch_roles(const SelectiveScanFwdParams<__nv_bfloat16>& p, cudaStream_t stream) {
  const auto kernel = selective_scan_fwd_roles_kernel<Shape>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kRolesBytes<Shape>);
      error != cudaSuccess) {
    return error;
  }
  const bool state_vectors = is_tile_aligned(p.B) && is_tile_aligned(p.C);
  kernel<<<scan_grid(p.batch, p.d_inner, Shape::kChannels), Shape::kThreads, kRolesBytes<Shape>, stream>>>(
      p, state_vectors);
  return cudaGetLastError();
}

template <typename Shape, typename Params>
int64_t roles_blocks(const Params& p) {
  return p.batch * ((p.d_inner + Shape::kChannels - 1) / Shape::kChannels);
}

/// Few channels where all their blocks run at once. Else the more channels a warp has, the fewer instructions an
/// element takes: 16 for short rows and where such blocks leave at most a quarter of their rounds empty, else 8.
template <typename Params>  // so that only bfloat16's file compiles these kernels
cudaError_t launch_by_roles(const Params& p, cudaStream_t stream) {
  const int64_t device = multiprocessors();
  if (roles_blocks<RolesFewChannels>(p) <= device * RolesFewChannels::kBlocks) {
    return launch_roles<RolesFewChannels>(p, stream);
  }
  const int64_t row_steps = p.cu_seqlens == nullptr ? p.seqlen : p.seqlen / p.batch;  // on average
  if (row_steps < kShortRow) return launch_roles<RolesShortRows>(p, stream);
  const int64_t blocks = roles_blocks<RolesManyChannels>(p), slots = device * RolesManyChannels::kBlocks;
  const int64_t rounds = (blocks + slots - 1) / slots;
  return 4 * blocks >= 3 * rounds * slots ? launch_roles<RolesManyChannels>(p, stream)
                                          : launch_roles<RolesSomeChannels>(p, stream);
}

/// Shared memory of as many blocks as launch_by_roles counts on a multiprocessor to hold.
template <typename Shape>
inline constexpr int kRolesMemory = Shape::kBlocks*(kRolesBytes<Shape> + 1024);  // 1024: the system's, of a block

/// True where the device has it; with less, nobody measured whether tiles are faster. Rows of all lengths take the same
/// way: a row's states are the same alone and packed with others, its outputs but for the order of one sum (few
/// channels add two halves of the states).
inline bool has_memory_for_roles() {
  constexpr int kMost = kRolesMemory<RolesManyChannels>;
  static_assert(kRolesMemory<RolesFewChannels> <= kMost && kRolesMemory<RolesSomeChannels> <= kMost &&
                kRolesMemory<RolesShortRows> <= kMost);
  return device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) >= kMost;
}

/// Few channels: more lanes a channel, so that there are warps enough to hide latency. Measured crossings: README.md.
template <typename scalar_t>
cudaError_t launch_d_state_16(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (has_terms(p)) return launch_tiled<DState16Terms<scalar_t>, true>(p, stream);
  if constexpr (std::is_same_v<scalar_t, __nv_bfloat16>) {
    if (has_memory_for_roles()) return launch_by_roles(p, stream);
  }
  if constexpr (!std::is_same_v<scalar_t, float>) {
    const int64_t channels = p.batch * p.d_inner;
    if (channels >= 32000) return launch_tiled<DState16Channels32k>(p, stream);
    if (channels >= 18000) return launch_tiled<DState16Channels18k>(p, stream);
    if (channels >= 12000) return launch_tiled<DState16Channels12k>(p, stream);
  }
  return launch_tiled<DState16FewChannels<scalar_t>>(p, stream);
}

template <typename scalar_t>
bool takes_tiles(const SelectiveScanFwdParams<scalar_t>& p) {
  return (p.d_state == 16 || !has_terms(p)) && has_tile_shape(p) && is_tile_aligned(p.u) && is_tile_aligned(p.delta) &&
         is_tile_aligned(p.z) && is_vector_aligned(p.out) && is_vector_aligned(p.y) &&
         is_vector_aligned(p.checkpoints) && is_vector_aligned(p.last_state);
}

}  // namespace fwd

template <typename scalar_t>
cudaError_t launch_selective_scan_fwd(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.d_state < 1 || p.d_state > kMaxDState || p.seqlen > INT32_MAX - 64) return cudaErrorInvalidValue;
  if (p.checkpoints != nullptr && !selective_scan_accepts_checkpoint_every(p.checkpoint_every)) {
    return cudaErrorInvalidValue;
  }
  if (p.batch == 0 || p.d_inner == 0) return cudaSuccess;
  if (!fwd::takes_tiles(p)) return fwd::launch_any(p, stream);
  switch (p.d_state) {
    case 8:
      return fwd::launch_tiled<fwd::DState8>(p, stream);
    case 16:
      return fwd::launch_d_state_16(p, stream);
    case 32:
      return fwd::launch_tiled<fwd::DState32>(p, stream);
    case 64:
      return fwd::launch_tiled<fwd::DState64>(p, stream);
    default:
      return fwd::launch_any(p, stream);
  }
}

}  // namespace mpeft::kernels

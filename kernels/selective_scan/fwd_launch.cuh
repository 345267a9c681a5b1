#pragma once

// Which forward kernel runs. One .cu file a scalar type instantiates this, so that they compile in parallel.
#include <type_traits>

#include "kernels/selective_scan/fwd_any.cuh"
#include "kernels/selective_scan/fwd_kernel.cuh"

namespace mpeft::kernels {
namespace fwd {

//                          lanes, states, channels a lane, warps, steps, polynomials of 8, blocks
using DState8 = FwdShape<4, 2, 1, 4, 16, 0, 6>;
using DState16FewChannels = FwdShape<8, 2, 1, 4, 32, 0, 5>;
using DState16ManyChannels = FwdShape<4, 4, 2, 2, 16, 1, 8>;
using DState16Wide = FwdShape<8, 2, 2, 4, 16, 0, 6>;
using DState32 = FwdShape<8, 4, 1, 4, 16, 0, 5>;
using DState64 = FwdShape<16, 4, 1, 4, 16, 0, 4>;

template <typename Shape, typename scalar_t>
cudaError_t launch_tiled(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  const bool state_vectors = is_tile_aligned(p.B) && is_tile_aligned(p.C);
  selective_scan_fwd_kernel<scalar_t, Shape>
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

/// Few channels: more lanes a channel, so that there are warps enough to hide latency. Measured crossings: README.md.
template <typename scalar_t>
cudaError_t launch_d_state_16(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  if constexpr (!std::is_same_v<scalar_t, float>) {
    const int64_t channels = p.batch * p.d_inner;
    if (channels >= 18000 && channels < 24000) return launch_tiled<DState16Wide>(p, stream);
    if (channels >= 12000) return launch_tiled<DState16ManyChannels>(p, stream);
  }
  return launch_tiled<DState16FewChannels>(p, stream);
}

template <typename scalar_t>
bool takes_tiles(const SelectiveScanFwdParams<scalar_t>& p) {
  return !has_state_terms(p) && p.out_offset == nullptr && has_tile_shape(p) && is_tile_aligned(p.u) &&
         is_tile_aligned(p.delta) && is_tile_aligned(p.z) && is_vector_aligned(p.out) &&
         is_vector_aligned(p.checkpoints) && is_vector_aligned(p.last_state);
}

}  // namespace fwd

template <typename scalar_t>
cudaError_t launch_selective_scan_fwd(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (p.d_state < 1 || p.d_state > kMaxDState || p.seqlen > INT32_MAX) return cudaErrorInvalidValue;
  if (p.checkpoints != nullptr && p.checkpoint_every != selective_scan_checkpoint_every()) return cudaErrorInvalidValue;
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

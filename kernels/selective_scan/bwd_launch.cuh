#pragma once

// Which backward kernels run, and the workspace they share. One .cu file a scalar type instantiates this.
#include <algorithm>
#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/bwd_any.cuh"
#include "kernels/selective_scan/bwd_expand.cuh"
#include "kernels/selective_scan/bwd_expand_y.cuh"
#include "kernels/selective_scan/bwd_kernel.cuh"
#include "kernels/selective_scan/bwd_roles.cuh"
#include "kernels/selective_scan/bwd_sums.cuh"

namespace mpeft::kernels {
namespace bwd {

// d_state, warps, blocks a multiprocessor, channels a lane: as many as the registers of the unrolled halves allow
// without spilling more than a few bytes (kernels/selective_scan/README.md says how many), and the shared
// memory of sm_86, sm_89 and sm_120
template <typename scalar_t>
inline constexpr int kBwdLaneChannels = sizeof(scalar_t) == 4 ? 1 : 2;
using DState8 = BwdShape<8, 4, 2, 1>;
template <typename scalar_t>
using DState16 = BwdShape<16, 4, 2, kBwdLaneChannels<scalar_t>>;
using DState16Terms = BwdShape<16, 4, 2, 1>;
using DState16Dense = BwdShape<16, 4, 3, 1>;
template <typename scalar_t>
using DState32 = BwdShape<32, 4, 2, kBwdLaneChannels<scalar_t>>;
template <typename scalar_t>
using DState64 = BwdShape<64, 4, 2, kBwdLaneChannels<scalar_t>>;

template <typename scalar_t>
bool takes_tiles(const SelectiveScanBwdParams<scalar_t>& p) {
  const bool specialised = p.d_state == 8 || p.d_state == 16 || p.d_state == 32 || p.d_state == 64;
  return specialised && (p.d_state == 16 || !has_terms(p)) && has_tile_shape(p) && is_vector_aligned(p.A) &&
         is_tile_aligned(p.u) && is_tile_aligned(p.delta) && is_tile_aligned(p.z) && is_tile_aligned(p.dout) &&
         is_tile_aligned(p.du) && is_tile_aligned(p.ddelta) && is_tile_aligned(p.dz) && is_vector_aligned(p.y) &&
         is_vector_aligned(p.checkpoints) && is_vector_aligned(p.dlast_state) && is_vector_aligned(p.dinitial_state);
}

/// Short rows whose blocks of DState16Dense just fill the device if cut in two: there its finer blocks are faster
/// (README.md: up to some 210 steps), with y from the forward and without.
template <typename scalar_t>
bool packs_densely(const SelectiveScanBwdParams<scalar_t>& p) {
  const int64_t blocks = p.batch * ((p.d_inner + DState16Dense::kChannels - 1) / DState16Dense::kChannels) * 2;
  const int64_t slots = DState16Dense::kBlocks * multiprocessors();
  return p.seqlen <= 13 * DState16Dense::kTile && blocks <= slots && 10 * blocks >= 9 * slots;
}

/// True where the program has code for the device that moves registers: else the kernel's bound is one warp. Shape: a
/// template so that only bfloat16's file compiles these kernels.
template <typename Shape>
bool device_takes_bwd_roles() {
  static OncePerDevice takes;
  return takes.ask([] {
    cudaFuncAttributes attributes{};
    if (cudaFuncGetAttributes(&attributes, selective_scan_bwd_roles_kernel<Shape>) != cudaSuccess) {
      cudaGetLastError();  // no code for this device at all
      return false;
    }
    return attributes.maxThreadsPerBlock >= Shape::kAllThreads;
  });
}

/// What the choice of a cut wants to know of the device.
template <typename Shape>
CutDevice cut_device() {
  const int64_t count = multiprocessors();
  return {count, count * Shape::kBlocks, count * kCarryBlocks<Shape>,
          std::is_same_v<Shape, BwdRolesShape> ? &kRolesCosts : &kTilesCosts};
}

template <typename Shape, typename Params>
double estimated_us(const Params& p, int64_t steps) {
  const int64_t pairs = p.batch * ((p.d_inner + Shape::kChannels - 1) / Shape::kChannels);
  return estimated_us(pairs, (steps + Shape::kTile - 1) / Shape::kTile, cut_device<Shape>());
}

/// Whether there is a gate, whose gradient is a product of y, and the forward kept no y.
template <typename scalar_t>
bool lacks_y(const SelectiveScanBwdParams<scalar_t>& p) {
  return p.z.data != nullptr && p.y == nullptr;
}

/// Whether the expansion of compact states makes y as well: where the main pass is by roles, which make none.
template <typename Shape, typename scalar_t>
bool expands_y(const SelectiveScanBwdParams<scalar_t>& p) {
  return std::is_same_v<Shape, BwdRolesShape> && p.checkpoint_every == kSelectiveScanCompactEvery && lacks_y(p);
}

/// Where the kernel by roles takes p (d_state 16, no terms) and is the faster one: not for rows of up to five tiles,
/// whose ends count most, for few rows that hardly fill the device, nor where blocks of 128 channels divide badly.
template <typename Shape>
bool takes_roles(const SelectiveScanBwdParams<__nv_bfloat16>& p) {
  if (p.kernel == ScanBwdKernel::kTiles || p.seqlen == 0 || (lacks_y(p) && !expands_y<Shape>(p)) ||
      !is_tile_aligned(p.B) || !is_tile_aligned(p.C) || !device_takes_bwd_roles<Shape>()) {
    return false;
  }
  if (p.kernel == ScanBwdKernel::kRoles) return true;
  const int64_t steps = p.cu_seqlens == nullptr ? p.seqlen : p.seqlen / p.batch;  // of a row, on average
  return steps > 5 * Shape::kTile && !packs_densely(p) &&
         estimated_us<Shape>(p, steps) < estimated_us<DState16<__nv_bfloat16>>(p, steps);
}

/// f(shape, whether the main pass reads y where there is a gate, with terms) of the kernel that takes p, where
/// takes_tiles(p).
template <typename scalar_t, typename F>
auto with_shape(const SelectiveScanBwdParams<scalar_t>& p, F&& f) {
  using Yes = std::true_type;
  using No = std::false_type;
  switch (p.d_state) {
    case 8:
      return f(DState8{}, No{}, No{});
    case 16:
      if (has_terms(p)) return f(DState16Terms{}, No{}, Yes{});
      if constexpr (std::is_same_v<scalar_t, __nv_bfloat16>) {
        if (takes_roles<BwdRolesShape>(p)) return f(BwdRolesShape{}, Yes{}, No{});
        if (packs_densely(p)) return p.y != nullptr ? f(DState16Dense{}, Yes{}, No{}) : f(DState16Dense{}, No{}, No{});
      }
      if constexpr (sizeof(scalar_t) == 2) {
        if (p.y != nullptr) return f(DState16<scalar_t>{}, Yes{}, No{});
      }
      return f(DState16<scalar_t>{}, No{}, No{});
    case 32:
      return f(DState32<scalar_t>{}, No{}, No{});
    default:
      return f(DState64<scalar_t>{}, No{}, No{});
  }
}

/// Cuts the time of the last `pairs % places` (row, block of channels) pairs.
inline void cut_time(BwdPlan& plan, int64_t pairs, int64_t tiles, const CutDevice& device) {
  const int64_t cut_pairs = pairs % device.places;
  if (cut_pairs == 0) return;
  enter_cut(plan, remembered_cut(cut_pairs, pairs, tiles, device), pairs, cut_pairs, tiles, kMaxGridRows);
}

/// channels: of a block; tile: 0 when time is not divided; with_y: expands_y.
template <typename scalar_t>
BwdPlan make_plan(const SelectiveScanBwdParams<scalar_t>& p, int64_t channels, int64_t tile, const CutDevice& device,
                  bool with_y) {
  BwdPlan plan = plan_without_cut(p.batch, channels, (p.d_inner + channels - 1) / channels, p.seqlen, tile);
  if (tile > 0 && p.seqlen > 0) cut_time(plan, plan.whole, (p.seqlen + tile - 1) / tile, device);
  auto take = [&](int64_t floats) {
    const int64_t at = plan.floats;
    plan.floats += (floats + 63) / 64 * 64;
    return at;
  };
  const int64_t parts = plan.parts(static_cast<uint32_t>(p.batch));
  const int64_t y_floats = with_y ? n_tokens(p) * p.d_inner * int64_t{sizeof(scalar_t)} / int64_t{sizeof(float)} : 0;
  plan.expanded = take(expanded_floats(p) + y_floats);  // y behind the states; d_inner is even
  plan.dBC = take(plan.channel_blocks * n_tokens(p) * 2 * p.d_state);
  auto take_if = [&](const float* gradient, int64_t floats) { return gradient == nullptr ? 0 : take(parts * floats); };
  plan.dA = take_if(p.dA, p.d_inner * p.d_state);
  plan.dstate_offset = take_if(p.dstate_offset, p.d_inner * p.d_state);
  plan.dB_scale = take_if(p.dB_scale, p.d_inner * p.d_state);
  plan.dB_bias = take_if(p.dB_bias, p.d_inner * p.d_state);
  plan.dC_scale = take_if(p.dC_scale, p.d_inner * p.d_state);
  plan.dC_bias = take_if(p.dC_bias, p.d_inner * p.d_state);
  plan.dD = take_if(p.dD, p.d_inner);
  plan.dbias = take_if(p.ddelta_bias, p.d_inner);
  plan.dout_offset = take_if(p.dout_offset, p.d_inner);
  if (plan.chunks() > 1) {
    plan.carry = take(plan.carry_rows() * p.d_inner * p.d_state);
    plan.delta_sum = take(plan.carry_rows() * p.d_inner);
  }
  return plan;
}

template <typename scalar_t>
BwdPlan plan_for(const SelectiveScanBwdParams<scalar_t>& p) {
  if (!takes_tiles(p)) return make_plan(p, any_bwd_warps(p) * kAnyChannels, 0, {}, false);
  return with_shape(p, [&](auto shape, auto, auto) {
    using Shape = decltype(shape);
    return make_plan(p, Shape::kChannels, Shape::kTile, cut_device<Shape>(), expands_y<Shape>(p));
  });
}

/// early: behind the first pass, or behind the expansion where this kernel waits for it: where it makes y itself.
template <typename Shape, bool kSavedY, bool kWithTerms, typename scalar_t>
cudaError_t launch_main_pass(const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan, float* workspace,
                             bool state_vectors, bool early, cudaStream_t stream) {
  const dim3 grid = scan_grid(plan.parts(static_cast<uint32_t>(p.batch)), p.d_inner, Shape::kChannels);
  const auto launch = [&](auto kernel, int threads, int bytes, const auto&... arguments) {
    static SharedMemoryGrant grant;
    if (const cudaError_t error = grant.ask(kernel, bytes); error != cudaSuccess) return error;
    if (early) return launch_early(kernel, grid, threads, bytes, stream, p, plan, workspace, arguments...);
    kernel<<<grid, threads, bytes, stream>>>(p, plan, workspace, arguments...);
    return cudaGetLastError();
  };
  if constexpr (std::is_same_v<Shape, BwdRolesShape>) {
    return launch(selective_scan_bwd_roles_kernel<Shape>, Shape::kAllThreads, int{sizeof(bwd_roles::Shared)});
  } else {
    constexpr int kBytes = static_cast<int>(sizeof(BwdShared<scalar_t, Shape, kSavedY, kWithTerms>));
    static_assert(kBytes <= 99 * 1024, "the least that a block may have, sm_80 to sm_120");
    return launch(selective_scan_bwd_kernel<scalar_t, Shape, kSavedY, kWithTerms>, Shape::kThreads, kBytes,
                  state_vectors);
  }
}

/// Of compact states the states that the main pass starts from, and y where that comes with them; changes p to it.
template <typename Shape, bool kWithTerms, typename scalar_t>
cudaError_t launch_expansion(SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan, float* workspace,
                             bool state_vectors, cudaStream_t stream) {
  const SelectiveScanBwdParams<scalar_t> compact = p;
  float* const expanded = workspace + plan.expanded;
  p.checkpoints = expanded;
  p.checkpoint_every = kSelectiveScanCheckpointEvery;
  if constexpr (std::is_same_v<Shape, BwdRolesShape>) {
    if (!expands_y<Shape>(compact)) {
      return launch_bwd_expand<DState16<scalar_t>, kWithTerms>(compact, expanded, state_vectors, stream);
    }
    auto* const y = reinterpret_cast<scalar_t*>(expanded + expanded_floats(compact));
    p.y = y;
    return launch_bwd_expand_with_y(compact, expanded, y, state_vectors, stream);
  } else {
    return launch_bwd_expand<Shape, kWithTerms>(compact, expanded, state_vectors, stream);
  }
}

template <typename Shape, bool kSavedY, bool kWithTerms, typename scalar_t>
cudaError_t launch_tiled(SelectiveScanBwdParams<scalar_t> p, const BwdPlan& plan, float* workspace,
                         cudaStream_t stream) {
  const bool state_vectors = is_tile_aligned(p.B) && is_tile_aligned(p.C);
  const bool compact = p.checkpoint_every == kSelectiveScanCompactEvery;
  if (compact) {
    const cudaError_t error = launch_expansion<Shape, kWithTerms>(p, plan, workspace, state_vectors, stream);
    if (error != cudaSuccess) return error;
  }
  if (plan.chunks() > 1) {
    // A plain launch: it begins when all before it is complete, the expansion too, and the main pass relies on that.
    const dim3 grid = scan_grid(plan.cut.count, p.d_inner, Shape::kChannels, static_cast<int>(plan.later_pieces()));
    selective_scan_bwd_carry_kernel<scalar_t, Shape, kWithTerms>
        <<<grid, Shape::kThreads, 0, stream>>>(p, plan, workspace, state_vectors);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  }
  return launch_main_pass<Shape, kSavedY, kWithTerms>(p, plan, workspace, state_vectors,
                                                      plan.chunks() > 1 || (compact && !kSavedY), stream);
}

template <typename scalar_t>
cudaError_t launch_any(SelectiveScanBwdParams<scalar_t> p, const BwdPlan& plan, float* workspace, cudaStream_t stream) {
  if (p.checkpoint_every == kSelectiveScanCompactEvery) {
    float* const expanded = workspace + plan.expanded;
    if (const cudaError_t error = launch_bwd_expand_any(p, expanded, stream); error != cudaSuccess) return error;
    p.checkpoints = expanded;
    p.checkpoint_every = kSelectiveScanCheckpointEvery;
  }
  const int64_t blocks = p.batch * plan.channel_blocks;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  const int bytes = any_bwd_shared_bytes(p);
  const auto kernel = selective_scan_bwd_any_kernel<scalar_t>;
  static SharedMemoryGrant grant;
  if (const cudaError_t error = grant.ask(kernel, kAnySharedBytes); error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(blocks), any_bwd_warps(p) * 32, bytes, stream>>>(p, plan, workspace);
  return cudaGetLastError();
}

template <typename scalar_t>
cudaError_t launch_main(const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan, float* workspace,
                        cudaStream_t stream) {
  if (!takes_tiles(p)) return launch_any(p, plan, workspace, stream);
  return with_shape(p, [&](auto shape, auto saved_y, auto with_terms) {
    return launch_tiled<decltype(shape), saved_y, with_terms>(p, plan, workspace, stream);
  });
}

}  // namespace bwd

template <typename scalar_t>
int64_t selective_scan_bwd_workspace_bytes(const SelectiveScanBwdParams<scalar_t>& p) {
  if (p.batch == 0 || p.d_inner == 0 || p.d_state < 1 || p.d_state > kMaxDState) return 0;
  return bwd::plan_for(p).floats * static_cast<int64_t>(sizeof(float));
}

template <typename scalar_t>
cudaError_t launch_selective_scan_bwd(const SelectiveScanBwdParams<scalar_t>& p, void* workspace, cudaStream_t stream) {
  if (p.d_state < 1 || p.d_state > kMaxDState || p.seqlen > INT32_MAX - 64) return cudaErrorInvalidValue;
  if (!selective_scan_accepts_checkpoint_every(p.checkpoint_every)) return cudaErrorInvalidValue;
  if (p.d_inner == 0) return cudaSuccess;
  if (p.batch == 0) {  // empty sums
    float* const state_sums[] = {p.dA, p.dstate_offset, p.dB_scale, p.dB_bias, p.dC_scale, p.dC_bias};
    float* const channel_sums[] = {p.dD, p.ddelta_bias, p.dout_offset};
    for (float* sum : state_sums) {
      if (sum != nullptr) cudaMemsetAsync(sum, 0, p.d_inner * p.d_state * sizeof(float), stream);
    }
    for (float* sum : channel_sums) {
      if (sum != nullptr) cudaMemsetAsync(sum, 0, p.d_inner * sizeof(float), stream);
    }
    return cudaGetLastError();
  }
  auto* floats = static_cast<float*>(workspace);
  const BwdPlan plan = bwd::plan_for(p);
  if (const cudaError_t error = bwd::launch_main(p, plan, floats, stream); error != cudaSuccess) return error;
  return launch_bwd_sums(p, plan, floats, stream);
}

}  // namespace mpeft::kernels

#pragma once

// Which forward kernel runs. One .cu file a scalar type instantiates this, so that they compile in parallel.
#include <algorithm>
#include <array>
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

// In the order of roles_choices.
//                 channels a warp; warps that scan, prepare, finish, fetch; steps, blocks; walk, polynomial softplus
using Roles16Channels = RolesShape<4, 4, 4, 4, 2, 64, 1, RolesWalk::kGroupAhead>;
using Roles16Pairs = RolesShape<4, 4, 2, 2, 0, 64, 2, RolesWalk::kGroupAhead>;
using Roles48Channels = RolesShape<4, 12, 3, 3, 2, 64, 1>;
using Roles48ShortRows = RolesShape<4, 12, 3, 3, 2, 32, 1>;
using Roles64Channels = RolesShape<8, 8, 4, 4, 4, 32, 1>;
using Roles64ShortRows = RolesShape<16, 4, 1, 1, 0, 16, 3>;
using Roles96Channels = RolesShape<8, 12, 6, 6, 4, 32, 1>;
using Roles128Channels = RolesShape<16, 8, 4, 4, 0, 32, 1, RolesWalk::kStepAhead, true>;
using Roles160Channels = RolesShape<8, 20, 5, 5, 2, 32, 1, RolesWalk::kInOrder, true>;

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
  static_assert(Shape::kSteps <= kSelectiveScanRolesMostSteps);
  const auto kernel = selective_scan_fwd_roles_kernel<Shape>;
  static SharedMemoryGrant grant;
  if (const cudaError_t error = grant.ask(kernel, kRolesBytes<Shape>); error != cudaSuccess) return error;
  const bool state_vectors = is_tile_aligned(p.B) && is_tile_aligned(p.C);
  kernel<<<scan_grid(p.batch, p.d_inner, Shape::kChannels), Shape::kThreads, kRolesBytes<Shape>, stream>>>(
      p, state_vectors);
  return cudaGetLastError();
}

/// What a shape would take: as many rounds as its blocks need on a device of so many multiprocessors, of a time for
/// each step of a row and one for beginning and ending. In ns, of a line through the shape's times at 128 to 2048 steps
/// in one round, inside graphs on an H200, less 1.3 us for the launch (Roles16Pairs: 8 and 512 steps; Roles64ShortRows:
/// of times of whole rounds; Roles128Channels and Roles160Channels: steps by a stream of launches of 512 and of 2048
/// steps, because the clock falls in long graphs, ends by rounds of 64 steps); what counts is how the shapes compare.
template <typename Shape, typename Params>
int64_t roles_time(const Params& p, int64_t device, int64_t step_ns, int64_t ends_ns) {
  const int64_t places = device * Shape::kBlocks;
  const int64_t steps = p.cu_seqlens == nullptr ? p.seqlen : p.seqlen / p.batch;  // of a row, on average
  const int64_t blocks = p.batch * ((p.d_inner + Shape::kChannels - 1) / Shape::kChannels);
  return (blocks + places - 1) / places * (steps * step_ns + ends_ns);
}

/// A shape of the forward by roles: what it would take (roles_time), and its launch.
template <typename Params>
struct RolesChoice {
  int64_t time;
  cudaError_t (*launch)(const Params&, cudaStream_t);
};

/// All shapes. Params: a template so that only bfloat16's file compiles these kernels.
template <typename Params>
std::array<RolesChoice<Params>, kSelectiveScanRolesShapes> roles_choices(const Params& p) {
  const int64_t device = multiprocessors();
  return {{{roles_time<Roles16Channels>(p, device, 21, 1300), launch_roles<Roles16Channels>},
           {roles_time<Roles16Pairs>(p, device, 38, 1400), launch_roles<Roles16Pairs>},
           {roles_time<Roles48Channels>(p, device, 47, 3600), launch_roles<Roles48Channels>},
           {roles_time<Roles48ShortRows>(p, device, 51, 1700), launch_roles<Roles48ShortRows>},
           {roles_time<Roles64Channels>(p, device, 60, 2700), launch_roles<Roles64Channels>},
           {roles_time<Roles64ShortRows>(p, device, 185, 1500), launch_roles<Roles64ShortRows>},
           {roles_time<Roles96Channels>(p, device, 86, 2500), launch_roles<Roles96Channels>},
           {roles_time<Roles128Channels>(p, device, 100, 4500), launch_roles<Roles128Channels>},
           {roles_time<Roles160Channels>(p, device, 131, 4600), launch_roles<Roles160Channels>}}};
}

/// The shape that would take the least time. Where device_takes_roles.
template <typename Params>
cudaError_t launch_by_roles(const Params& p, cudaStream_t stream) {
  const auto choices = roles_choices(p);
  const auto sooner = [](const auto& a, const auto& b) { return a.time < b.time; };
  return std::min_element(choices.begin(), choices.end(), sooner)->launch(p, stream);
}

/// Shared memory of as many blocks as roles_choices counts on a multiprocessor to hold.
template <typename Shape>
inline constexpr int kRolesMemory = Shape::kBlocks*(kRolesBytes<Shape> + 1024);  // 1024: the system's, of a block

/// True where the device has the shared memory and the program has code for it (kRolesFrom, kRolesBelow); what runs
/// instead is the tiles' kernel. Rows of all lengths take the same way: a row's states are the same alone and packed
/// with others but for 2e-4 of delta at most, whose logarithm Roles128Channels and Roles160Channels take from a
/// polynomial (softplus_delta_polynomial), its outputs besides but for the order of one sum (few channels add two
/// halves of the states).
inline bool device_takes_roles() {
  constexpr int kMost =
      std::max({kRolesMemory<Roles16Channels>, kRolesMemory<Roles16Pairs>, kRolesMemory<Roles48Channels>,
                kRolesMemory<Roles48ShortRows>, kRolesMemory<Roles64Channels>, kRolesMemory<Roles64ShortRows>,
                kRolesMemory<Roles96Channels>, kRolesMemory<Roles128Channels>, kRolesMemory<Roles160Channels>});
  static_assert(kMost <= 228 * 1024);
  static OncePerDevice takes;
  return takes.ask([] {
    const int compiled_for = compiled_architecture(selective_scan_fwd_roles_kernel<Roles16Channels>);
    return compiled_for >= kRolesFrom && compiled_for < kRolesBelow &&
           device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) >= kMost;
  });
}

/// What any forward takes: cudaErrorInvalidValue is what launches answer where it does not hold.
template <typename scalar_t>
bool is_in_range(const SelectiveScanFwdParams<scalar_t>& p) {
  return p.d_state >= 1 && p.d_state <= kMaxDState && p.seqlen <= INT32_MAX - 64 &&
         (p.checkpoints == nullptr || selective_scan_accepts_checkpoint_every(p.checkpoint_every));
}

/// Few channels: more lanes a channel, so that there are warps enough to hide latency. Measured crossings: README.md.
template <typename scalar_t>
cudaError_t launch_d_state_16(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) {
  if (has_terms(p)) return launch_tiled<DState16Terms<scalar_t>, true>(p, stream);
  if constexpr (std::is_same_v<scalar_t, __nv_bfloat16>) {
    if (device_takes_roles()) return launch_by_roles(p, stream);
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
  if (!fwd::is_in_range(p)) return cudaErrorInvalidValue;
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

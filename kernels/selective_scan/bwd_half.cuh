#pragma once

// Selective scan, backward, main pass: how a lane walks half of a tile, 8 steps, over its channels and states. Two
// orders of the same work; both leave dB and dC of the warp in shared memory.
#include <type_traits>

#include "kernels/selective_scan/bwd_products.cuh"
#include "kernels/selective_scan/bwd_shared.cuh"

// defines: kCanWalkGradientsFirst, BwdLaneStates, BwdStepSums, BwdHalf

namespace mpeft::kernels {

// Registers allow gradients_first from sm_90 on, but not on sm_120: there the compiler spills 24 to 28 bytes.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ < 900 || __CUDA_ARCH__ >= 1200)
inline constexpr bool kCanWalkGradientsFirst = false;
#else
inline constexpr bool kCanWalkGradientsFirst = true;
#endif

/// What a lane carries along the row, of its channels and four states each.
template <typename Shape, bool kWithTerms>
struct BwdLaneStates {
  static constexpr int kLane = Shape::kLaneChannels;
  float A[kLane][4] = {};
  StateTerms terms[kWithTerms ? kLane : 1][4];
  float v[kLane][4] = {};   ///< a_t g_t of the step walked last
  float dA[kLane][4] = {};  ///< in units of 1 / kDeltaUnit
  float dstate_offset[kLane][4] = {}, dB_scale[kLane][4] = {}, dB_bias[kLane][4] = {}, dC_scale[kLane][4] = {},
        dC_bias[kLane][4] = {};
};

/// The lane's part of the sums over states of each step of a half; after BwdHalf::sum the whole sums, of the steps from
/// first_kept_step.
template <typename Shape>
struct BwdStepSums {
  float S1[Shape::kSubTile][Shape::kLaneChannels], S2[Shape::kSubTile][Shape::kLaneChannels],
      y[Shape::kSubTile][Shape::kLaneChannels];  ///< C . h; without y from the forward
};

template <typename scalar_t, typename Shape, bool kSavedY, bool kWithTerms>
struct BwdHalf {
  using Shared = BwdShared<scalar_t, Shape, kSavedY, kWithTerms>;
  using LaneStates = BwdLaneStates<Shape, kWithTerms>;
  using StepSums = BwdStepSums<Shape>;
  using Sums = BwdSums<scalar_t, Shape>;
  static constexpr int kLane = Shape::kLaneChannels, kDState = Shape::kDState, kSteps = Shape::kSubTile,
                       kProductSteps = Shape::kProductSteps, kProducts = kSteps / kProductSteps;
  /// Gradients first is 6 % faster with two channels a lane, no faster with one, and 5 % slower without y from the
  /// forward; with the longer products of float16 it spills.
  static constexpr bool kGradientsFirst =
      kCanWalkGradientsFirst && std::is_same_v<scalar_t, __nv_bfloat16> && kSavedY && !kWithTerms && kLane == 2;

  Shared& s;
  const BwdLane<Shape>& lane;
  const typename Sums::Operand operand;

  __device__ __forceinline__ BwdHalf(Shared& shared, const BwdLane<Shape>& of_lane)
      : s(shared), lane(of_lane), operand(of_lane) {}

  /// Of each step S1 and S2 (and y), those of half `half` of the tile in `stage`.
  __device__ __forceinline__ void walk(LaneStates& x, StepSums& sums, int stage, int half) const {
    if constexpr (kGradientsFirst) {
      gradients_first(x, sums, stage, half);
    } else {
      states_first(x, sums, stage, half);
    }
  }

 private:
  /// h_t from the state before the half on, kept with a_t; then back in time with everything else.
  __device__ __forceinline__ void states_first(LaneStates& own, StepSums& sums, int stage, int half) const {
    const int t0 = half * kSteps;
    float a[kSteps][kLane][4], h[kSteps + 1][kLane][4];
    load_state(h[0], half);
#pragma unroll
    for (int t = 0; t < kSteps; ++t) {
      float x[2 * kLane], B[4];
      load_step(x, t0 + t);
      load_B(B, stage, t0 + t);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
          a[t][c][i] = decay<scalar_t>(x[c] * own.A[c][i]);
          float B_t = B[i];
          if constexpr (kWithTerms) B_t = own.terms[c][i].scaled_B(B_t);
          h[t + 1][c][i] = fmaf(a[t][c][i], h[t][c][i], x[kLane + c] * B_t);
        }
      }
    }
#pragma unroll
    for (int product = kProducts - 1; product >= 0; --product) {
      Sums dB, dC;
      dB.begin(product_column(s.step, t0, product) + kLane);
      dC.begin(product_column(s.dy, t0, product));
#pragma unroll
      for (int q = kProductSteps - 1; q >= 0; --q) {
        const int t = product * kProductSteps + q;
        float x[2 * kLane], dy[kLane], B[4], C[4], G[kLane][4], H[kLane][4];
        load_step(x, t0 + t);
        load_floats(dy, &s.dy[t0 + t][2 * lane.channel]);
        load_B(B, stage, t0 + t);
        load_C(C, stage, t0 + t);
        float weight[kLane];  // dB and dC are sums of G times these and of H times dy
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
          float S1 = 0.f, S2 = 0.f;
          weight[c] = x[kLane + c];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float B_t = B[i], C_t = C[i], read = h[t + 1][c][i];
            if constexpr (kWithTerms) {
              B_t = own.terms[c][i].scaled_B(B_t);
              C_t = own.terms[c][i].scaled_C(C_t);
              read += own.terms[c][i].offset;
            }
            const float g = fmaf(dy[c], C_t, own.v[c][i]);
            own.v[c][i] = a[t][c][i] * g;
            const float vh = own.v[c][i] * h[t][c][i];
            if constexpr (!kSavedY) sums.y[t][c] = i == 0 ? C_t * read : fmaf(C_t, read, sums.y[t][c]);
            S1 = i == 0 ? g * B_t : fmaf(g, B_t, S1);
            S2 = i == 0 ? vh * own.A[c][i] : fmaf(vh, own.A[c][i], S2);
            own.dA[c][i] = fmaf(vh, x[c], own.dA[c][i]);
            G[c][i] = g;
            H[c][i] = read;
            if constexpr (kWithTerms) {  // of B' and C' until here
              const float dB_term = g * x[kLane + c], dC_term = read * dy[c];
              own.dstate_offset[c][i] = fmaf(dy[c], C_t, own.dstate_offset[c][i]);
              own.dB_scale[c][i] = fmaf(dB_term, B[i], own.dB_scale[c][i]);
              own.dB_bias[c][i] += dB_term;
              own.dC_scale[c][i] = fmaf(dC_term, C[i], own.dC_scale[c][i]);
              own.dC_bias[c][i] += dC_term;
              G[c][i] *= own.terms[c][i].B_scale;
              H[c][i] *= own.terms[c][i].C_scale;
            }
          }
          sums.S1[t][c] = S1, sums.S2[t][c] = S2;
        }
        dB.add(operand, q, G, weight);
        dC.add(operand, q, H, dy);
      }
      store_product(dB, t0, product, 0);
      store_product(dC, t0, product, Shape::kGroups);
    }
  }

  /// Back in time with g_t and v_t, kept with a_t; then h_t on from the state before the half, which need not be kept.
  /// What is made back in time does not wait for h: so there is work beside the exponentials, which take the special
  /// function unit 8 cycles each.
  __device__ __forceinline__ void gradients_first(LaneStates& own, StepSums& sums, int stage, int half) const {
    static_assert(!kWithTerms);
    const int t0 = half * kSteps;
    float a[kSteps][kLane][4], v[kSteps][kLane][4], h[kLane][4];
    load_state(h, half);
#pragma unroll
    for (int product = kProducts - 1; product >= 0; --product) {
      Sums dB;
      dB.begin(product_column(s.step, t0, product) + kLane);
#pragma unroll
      for (int q = kProductSteps - 1; q >= 0; --q) {
        const int t = product * kProductSteps + q;
        float x[2 * kLane], dy[kLane], B[4], C[4], G[kLane][4], weight[kLane];
        load_step(x, t0 + t);
        load_floats(dy, &s.dy[t0 + t][2 * lane.channel]);
        load_B(B, stage, t0 + t);
        load_C(C, stage, t0 + t);
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
          weight[c] = x[kLane + c];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            a[t][c][i] = decay<scalar_t>(x[c] * own.A[c][i]);
            const float g = fmaf(dy[c], C[i], own.v[c][i]);
            own.v[c][i] = v[t][c][i] = a[t][c][i] * g;
            sums.S1[t][c] = i == 0 ? g * B[i] : fmaf(g, B[i], sums.S1[t][c]);
            G[c][i] = g;
          }
        }
        dB.add(operand, q, G, weight);
      }
      store_product(dB, t0, product, 0);
    }
    sum_over_states<Shape>(sums.S1);
#pragma unroll
    for (int product = 0; product < kProducts; ++product) {
      Sums dC;
      dC.begin(product_column(s.dy, t0, product));
#pragma unroll
      for (int q = 0; q < kProductSteps; ++q) {
        const int t = product * kProductSteps + q;
        float x[2 * kLane], dy[kLane], B[4];
        load_step(x, t0 + t);
        load_floats(dy, &s.dy[t0 + t][2 * lane.channel]);
        load_B(B, stage, t0 + t);
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float vh = v[t][c][i] * h[c][i];
            sums.S2[t][c] = i == 0 ? vh * own.A[c][i] : fmaf(vh, own.A[c][i], sums.S2[t][c]);
            own.dA[c][i] = fmaf(vh, x[c], own.dA[c][i]);
            h[c][i] = fmaf(a[t][c][i], h[c][i], x[kLane + c] * B[i]);
          }
        }
        dC.add(operand, q, h, dy);
      }
      store_product(dC, t0, product, Shape::kGroups);
    }
  }

 public:
  /// The sums over states of what walk left; S1 of gradients_first is summed already.
  static __device__ __forceinline__ void sum(StepSums& sums) {
    if constexpr (!kGradientsFirst) sum_over_states<Shape>(sums.S1);
    sum_over_states<Shape>(sums.S2);
    if constexpr (!kSavedY) sum_over_states<Shape>(sums.y);
  }

 private:
  /// x: the lane's channels' delta, then their delta u.
  __device__ __forceinline__ void load_step(float (&x)[2 * kLane], int t) const {
    load_floats(x, &s.step[t][2 * lane.channel]);
  }
  __device__ __forceinline__ void load_B(float (&B)[4], int stage, int t) const {
    load_floats(B, &s.BC[stage][t][lane.group * 4]);
  }
  __device__ __forceinline__ void load_C(float (&C)[4], int stage, int t) const {
    load_floats(C, &s.BC[stage][t][kDState + lane.group * 4]);
  }
  __device__ __forceinline__ void load_state(float (&h)[kLane][4], int half) const {
#pragma unroll
    for (int c = 0; c < kLane; ++c) load_floats(h[c], &s.h_before[half][c][threadIdx.x].x);
  }
  /// The weights, a pair's first, that this lane's column of a product has.
  __device__ __forceinline__ const float* product_column(const typename Shared::pairs_t& pairs, int t0,
                                                         int product) const {
    const int step = t0 + product * kProductSteps + lane.g / Shape::kPartials;
    return &pairs[step][2 * column_channel<Shape>(lane)];
  }
  /// first_quad: 0 for dB, kGroups for dC.
  __device__ __forceinline__ void store_product(const Sums& sums, int t0, int product, int first_quad) const {
    const int step = lane.tig / Shape::kHalves;  // of the product
    float states[4];
    sums.result(lane, states);
    auto& row = s.dBC[threadIdx.x / 32 * Shape::kPartials + lane.partial][t0 + product * kProductSteps + step];
    store_floats(&row[dBC_place<Shape>(step, first_quad + lane.group)].x, states);
  }
};

}  // namespace mpeft::kernels

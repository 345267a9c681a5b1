#include "kernels/selective_scan/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/half.h"

namespace mpeft::kernels {
namespace {

template <typename acc_t>
acc_t sigmoid(acc_t x) {
  return acc_t(1) / (acc_t(1) + std::exp(-x));
}

template <typename acc_t>
acc_t softplus(acc_t x) {
  return std::max(x, acc_t(0)) + std::log1p(std::exp(-std::abs(x)));
}

// From here on sequences start at the row's step 0 (move_to_row).

template <typename scalar_t>
scalar_t* step(const Sequence<scalar_t>& s, int64_t t) {
  return s.data + t * s.time_stride;
}

/// delta + delta_bias, what the softplus is applied to.
template <typename scalar_t>
acc_type_t<scalar_t> raw_delta(const SelectiveScanInputs<scalar_t>& p, int64_t t, int64_t d) {
  const auto bias = p.delta_bias ? p.delta_bias[d] : acc_type_t<scalar_t>(0);
  return to_acc(step(p.delta, t)[d]) + bias;
}

template <typename scalar_t>
acc_type_t<scalar_t> step_size(const SelectiveScanInputs<scalar_t>& p, int64_t t, int64_t d) {
  const auto raw = raw_delta(p, t, d);
  return p.delta_softplus ? softplus(raw) : raw;
}

template <typename scalar_t>
acc_type_t<scalar_t> initial_state(const SelectiveScanInputs<scalar_t>& p, int64_t row, int64_t d, int64_t n) {
  if (p.initial_state == nullptr) return 0;
  return p.initial_state[row * p.initial_state_batch_stride + d * p.d_state + n];
}

/// B' or C' of one step, channel and state.
template <typename scalar_t>
acc_type_t<scalar_t> scaled(const Sequence<const scalar_t>& s, const acc_type_t<scalar_t>* scale,
                            const acc_type_t<scalar_t>* bias, int64_t d_state, int64_t t, int64_t d, int64_t n) {
  auto x = to_acc(step(s, t)[n]);
  if (scale) x *= scale[d * d_state + n];
  if (bias) x += bias[d * d_state + n];
  return x;
}
template <typename scalar_t>
acc_type_t<scalar_t> scaled_B(const SelectiveScanInputs<scalar_t>& p, int64_t t, int64_t d, int64_t n) {
  return scaled(p.B, p.B_scale, p.B_bias, p.d_state, t, d, n);
}
template <typename scalar_t>
acc_type_t<scalar_t> scaled_C(const SelectiveScanInputs<scalar_t>& p, int64_t t, int64_t d, int64_t n) {
  return scaled(p.C, p.C_scale, p.C_bias, p.d_state, t, d, n);
}

/// What C' is multiplied with: the state plus its offset.
template <typename scalar_t>
acc_type_t<scalar_t> offset_state(const SelectiveScanInputs<scalar_t>& p, int64_t d, int64_t n,
                                  acc_type_t<scalar_t> h) {
  return p.state_offset ? h + p.state_offset[d * p.d_state + n] : h;
}

/// h_t = exp(delta' A) h_{t-1} + delta' B' u, in place, for one channel.
template <typename scalar_t>
void advance(const SelectiveScanInputs<scalar_t>& p, int64_t t, int64_t d, acc_type_t<scalar_t>* h) {
  const auto delta = step_size(p, t, d);
  const auto u = to_acc(step(p.u, t)[d]);
  for (int64_t n = 0; n < p.d_state; ++n) {
    h[n] = std::exp(delta * p.A[d * p.d_state + n]) * h[n] + delta * scaled_B(p, t, d, n) * u;
  }
}

/// C'_t . (h_t + state_offset) + D u_t + out_offset
template <typename scalar_t>
acc_type_t<scalar_t> read_out(const SelectiveScanInputs<scalar_t>& p, int64_t t, int64_t d,
                              const acc_type_t<scalar_t>* h) {
  acc_type_t<scalar_t> y = p.D ? p.D[d] * to_acc(step(p.u, t)[d]) : 0;
  if (p.out_offset) y += p.out_offset[d];
  for (int64_t n = 0; n < p.d_state; ++n) y += scaled_C(p, t, d, n) * offset_state(p, d, n, h[n]);
  return y;
}

/// What the backward sums over channels (dB, dC of a row) or over rows (the others) before it rounds.
template <typename acc_t>
struct Sums {
  std::vector<acc_t> dB, dC;                                                   // (seqlen, d_state)
  std::vector<acc_t> dA, dstate_offset, dB_scale, dB_bias, dC_scale, dC_bias;  // (d_inner, d_state)
  std::vector<acc_t> dD, ddelta_bias, dout_offset;                             // (d_inner)
};

template <typename scalar_t>
void zero_padding(const Sequence<scalar_t>& s, int64_t begin, int64_t end, int64_t size) {
  if (s.data == nullptr) return;
  for (int64_t t = begin; t < end; ++t) std::fill_n(step(s, t), size, scalar_t{});
}

template <typename scalar_t>
void backward_channel(const SelectiveScanBwdParams<scalar_t>& p, int64_t row, int64_t length, int64_t d,
                      Sums<acc_type_t<scalar_t>>& sums) {
  using acc_t = acc_type_t<scalar_t>;
  const int64_t N = p.d_state;

  std::vector<acc_t> states(
      static_cast<size_t>((length + 1) * N));  // (length + 1, d_state): before each step and at the end
  for (int64_t n = 0; n < N; ++n) states[n] = initial_state(p, row, d, n);
  for (int64_t t = 0; t < length; ++t) {
    std::copy_n(&states[t * N], N, &states[(t + 1) * N]);
    advance(p, t, d, &states[(t + 1) * N]);
  }

  std::vector<acc_t> dh(N, acc_t(0));  // gradient of the state after the current step
  if (p.dlast_state) std::copy_n(p.dlast_state + (row * p.d_inner + d) * N, N, dh.data());
  for (int64_t t = length - 1; t >= 0; --t) {
    const acc_t u = to_acc(step(p.u, t)[d]);
    const acc_t delta = step_size(p, t, d);
    const acc_t* h = &states[(t + 1) * N];
    const acc_t* h_before = &states[t * N];

    acc_t dy = to_acc(step(p.dout, t)[d]);
    if (p.z.data) {
      const acc_t z = to_acc(step(p.z, t)[d]);
      const acc_t s = sigmoid(z);
      if (p.dz.data) from_acc(dy * read_out(p, t, d, h) * s * (1 + z * (1 - s)), step(p.dz, t)[d]);
      dy *= z * s;
    }
    acc_t du = p.D ? p.D[d] * dy : acc_t(0);
    acc_t ddelta = 0;
    for (int64_t n = 0; n < N; ++n) {
      const int64_t dn = d * N + n;
      const acc_t A = p.A[dn];
      const acc_t B = scaled_B(p, t, d, n), C = scaled_C(p, t, d, n);
      const acc_t decay = std::exp(delta * A);
      dh[n] += dy * C;
      const acc_t dB = dh[n] * delta * u, dC = dy * offset_state(p, d, n, h[n]);  // of B' and C'
      sums.dB[t * N + n] += p.B_scale ? p.B_scale[dn] * dB : dB;
      sums.dC[t * N + n] += p.C_scale ? p.C_scale[dn] * dC : dC;
      sums.dB_scale[dn] += dB * to_acc(step(p.B, t)[n]);
      sums.dB_bias[dn] += dB;
      sums.dC_scale[dn] += dC * to_acc(step(p.C, t)[n]);
      sums.dC_bias[dn] += dC;
      sums.dstate_offset[dn] += dy * C;
      sums.dA[dn] += dh[n] * decay * h_before[n] * delta;
      du += dh[n] * delta * B;
      ddelta += dh[n] * (A * decay * h_before[n] + B * u);
      dh[n] *= decay;
    }
    if (p.delta_softplus) ddelta *= sigmoid(raw_delta(p, t, d));
    sums.dD[d] += dy * u;
    sums.dout_offset[d] += dy;
    sums.ddelta_bias[d] += ddelta;
    if (p.du.data) from_acc(du, step(p.du, t)[d]);
    if (p.ddelta.data) from_acc(ddelta, step(p.ddelta, t)[d]);
  }
  if (p.dinitial_state) std::copy_n(dh.data(), N, p.dinitial_state + (row * p.d_inner + d) * N);
}

}  // namespace

template <typename scalar_t>
void selective_scan_fwd_reference(const SelectiveScanFwdParams<scalar_t>& params) {
  using acc_t = acc_type_t<scalar_t>;
  std::vector<acc_t> h(params.d_state);
  for (int64_t row = 0; row < params.batch; ++row) {
    const RowSpan span = row_span(params, row);
    SelectiveScanFwdParams<scalar_t> p = params;
    move_to_row(p, row, span);
    for (int64_t d = 0; d < p.d_inner; ++d) {
      for (int64_t n = 0; n < p.d_state; ++n) h[n] = initial_state(p, row, d, n);
      for (int64_t t = 0; t < span.stored; ++t) {
        acc_t out = 0;
        if (t < span.length) {
          advance(p, t, d, h.data());
          out = read_out(p, t, d, h.data());
          if (p.z.data) {
            const acc_t z = to_acc(step(p.z, t)[d]);
            out *= z * sigmoid(z);
          }
        }
        from_acc(out, p.out[t * p.d_inner + d]);
      }
      if (p.last_state) std::copy_n(h.data(), p.d_state, p.last_state + (row * p.d_inner + d) * p.d_state);
    }
  }
}

template <typename scalar_t>
void selective_scan_bwd_reference(const SelectiveScanBwdParams<scalar_t>& params) {
  using acc_t = acc_type_t<scalar_t>;
  const int64_t D = params.d_inner, N = params.d_state;
  Sums<acc_t> sums;
  for (auto* sum : {&sums.dA, &sums.dstate_offset, &sums.dB_scale, &sums.dB_bias, &sums.dC_scale, &sums.dC_bias}) {
    sum->assign(D * N, 0);
  }
  for (auto* sum : {&sums.dD, &sums.ddelta_bias, &sums.dout_offset}) sum->assign(D, 0);
  for (int64_t row = 0; row < params.batch; ++row) {
    const RowSpan span = row_span(params, row);
    SelectiveScanBwdParams<scalar_t> p = params;
    move_to_row(p, row, span);
    sums.dB.assign(span.length * N, 0);
    sums.dC.assign(span.length * N, 0);
    for (int64_t d = 0; d < D; ++d) backward_channel(p, row, span.length, d, sums);
    for (const auto* s : {&p.du, &p.ddelta, &p.dz}) zero_padding(*s, span.length, span.stored, D);
    for (const auto* s : {&p.dB, &p.dC}) zero_padding(*s, span.length, span.stored, N);
    for (int64_t t = 0; t < span.length; ++t) {
      for (int64_t n = 0; n < N; ++n) {
        if (p.dB.data) from_acc(sums.dB[t * N + n], step(p.dB, t)[n]);
        if (p.dC.data) from_acc(sums.dC[t * N + n], step(p.dC, t)[n]);
      }
    }
  }
  const auto store = [](const std::vector<acc_t>& sum, acc_t* to) {
    if (to) std::copy(sum.begin(), sum.end(), to);
  };
  store(sums.dA, params.dA);
  store(sums.dD, params.dD);
  store(sums.ddelta_bias, params.ddelta_bias);
  store(sums.dstate_offset, params.dstate_offset);
  store(sums.dB_scale, params.dB_scale);
  store(sums.dB_bias, params.dB_bias);
  store(sums.dC_scale, params.dC_scale);
  store(sums.dC_bias, params.dC_bias);
  store(sums.dout_offset, params.dout_offset);
}

template void selective_scan_fwd_reference(const SelectiveScanFwdParams<double>&);
template void selective_scan_fwd_reference(const SelectiveScanFwdParams<float>&);
template void selective_scan_fwd_reference(const SelectiveScanFwdParams<BFloat16>&);
template void selective_scan_fwd_reference(const SelectiveScanFwdParams<Half>&);
template void selective_scan_bwd_reference(const SelectiveScanBwdParams<double>&);
template void selective_scan_bwd_reference(const SelectiveScanBwdParams<float>&);
template void selective_scan_bwd_reference(const SelectiveScanBwdParams<BFloat16>&);
template void selective_scan_bwd_reference(const SelectiveScanBwdParams<Half>&);

}  // namespace mpeft::kernels

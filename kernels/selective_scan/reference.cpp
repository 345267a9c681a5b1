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

template <typename scalar_t>
const scalar_t* step(const Sequence<const scalar_t>& s, int64_t row, int64_t t) {
  return s.data + row * s.batch_stride + t * s.time_stride;
}

template <typename scalar_t>
scalar_t* step(const Sequence<scalar_t>& s, int64_t row, int64_t t) {
  return s.data + row * s.batch_stride + t * s.time_stride;
}

/// delta + delta_bias, what the softplus is applied to.
template <typename scalar_t>
acc_type_t<scalar_t> raw_delta(const SelectiveScanInputs<scalar_t>& p, int64_t row, int64_t t, int64_t d) {
  const auto bias = p.delta_bias ? p.delta_bias[d] : acc_type_t<scalar_t>(0);
  return to_acc(step(p.delta, row, t)[d]) + bias;
}

template <typename scalar_t>
acc_type_t<scalar_t> step_size(const SelectiveScanInputs<scalar_t>& p, int64_t row, int64_t t, int64_t d) {
  const auto raw = raw_delta(p, row, t, d);
  return p.delta_softplus ? softplus(raw) : raw;
}

template <typename scalar_t>
acc_type_t<scalar_t> initial_state(const SelectiveScanInputs<scalar_t>& p, int64_t row, int64_t d, int64_t n) {
  if (p.initial_state == nullptr) return 0;
  return p.initial_state[row * p.initial_state_batch_stride + d * p.d_state + n];
}

/// h_t = exp(delta' A) h_{t-1} + delta' B u, in place, for one channel.
template <typename scalar_t>
void advance(const SelectiveScanInputs<scalar_t>& p, int64_t row, int64_t t, int64_t d, acc_type_t<scalar_t>* h) {
  const auto delta = step_size(p, row, t, d);
  const auto u = to_acc(step(p.u, row, t)[d]);
  for (int64_t n = 0; n < p.d_state; ++n) {
    h[n] = std::exp(delta * p.A[d * p.d_state + n]) * h[n] + delta * to_acc(step(p.B, row, t)[n]) * u;
  }
}

/// C_t . h_t + D u_t
template <typename scalar_t>
acc_type_t<scalar_t> read_out(const SelectiveScanInputs<scalar_t>& p, int64_t row, int64_t t, int64_t d,
                              const acc_type_t<scalar_t>* h) {
  acc_type_t<scalar_t> y = p.D ? p.D[d] * to_acc(step(p.u, row, t)[d]) : 0;
  for (int64_t n = 0; n < p.d_state; ++n) y += to_acc(step(p.C, row, t)[n]) * h[n];
  return y;
}

/// What the backward sums over channels (dB, dC) or rows (dA, dD, ddelta_bias) before it rounds.
template <typename acc_t>
struct Sums {
  std::vector<acc_t> dB, dC;               // (batch, seqlen, d_state)
  std::vector<acc_t> dA, dD, ddelta_bias;  // (d_inner, d_state), (d_inner), (d_inner)
};

template <typename scalar_t>
void zero_padding(const Sequence<scalar_t>& s, int64_t row, int64_t begin, int64_t end, int64_t size) {
  if (s.data == nullptr) return;
  for (int64_t t = begin; t < end; ++t) std::fill_n(step(s, row, t), size, scalar_t{});
}

template <typename scalar_t>
void backward_channel(const SelectiveScanBwdParams<scalar_t>& p, int64_t row, int64_t d,
                      Sums<acc_type_t<scalar_t>>& sums) {
  using acc_t = acc_type_t<scalar_t>;
  const int64_t N = p.d_state;
  const int64_t length = row_length(p.lengths, row, p.seqlen);

  std::vector<acc_t> states(
      static_cast<size_t>((length + 1) * N));  // (length + 1, d_state): before each step and at the end
  for (int64_t n = 0; n < N; ++n) states[n] = initial_state(p, row, d, n);
  for (int64_t t = 0; t < length; ++t) {
    std::copy_n(&states[t * N], N, &states[(t + 1) * N]);
    advance(p, row, t, d, &states[(t + 1) * N]);
  }

  std::vector<acc_t> dh(N, acc_t(0));  // gradient of the state after the current step
  if (p.dlast_state) std::copy_n(p.dlast_state + (row * p.d_inner + d) * N, N, dh.data());
  for (int64_t t = length - 1; t >= 0; --t) {
    const acc_t u = to_acc(step(p.u, row, t)[d]);
    const acc_t delta = step_size(p, row, t, d);
    const acc_t* h = &states[(t + 1) * N];
    const acc_t* h_before = &states[t * N];

    acc_t dy = to_acc(step(p.dout, row, t)[d]);
    if (p.z.data) {
      const acc_t z = to_acc(step(p.z, row, t)[d]);
      const acc_t s = sigmoid(z);
      if (p.dz.data) from_acc(dy * read_out(p, row, t, d, h) * s * (1 + z * (1 - s)), step(p.dz, row, t)[d]);
      dy *= z * s;
    }
    acc_t du = p.D ? p.D[d] * dy : acc_t(0);
    acc_t ddelta = 0;
    for (int64_t n = 0; n < N; ++n) {
      const acc_t A = p.A[d * N + n];
      const acc_t B = to_acc(step(p.B, row, t)[n]);
      const acc_t decay = std::exp(delta * A);
      const int64_t bc = (row * p.seqlen + t) * N + n;
      dh[n] += dy * to_acc(step(p.C, row, t)[n]);
      sums.dC[bc] += dy * h[n];
      sums.dB[bc] += dh[n] * delta * u;
      sums.dA[d * N + n] += dh[n] * decay * h_before[n] * delta;
      du += dh[n] * delta * B;
      ddelta += dh[n] * (A * decay * h_before[n] + B * u);
      dh[n] *= decay;
    }
    if (p.delta_softplus) ddelta *= sigmoid(raw_delta(p, row, t, d));
    sums.dD[d] += dy * u;
    sums.ddelta_bias[d] += ddelta;
    if (p.du.data) from_acc(du, step(p.du, row, t)[d]);
    if (p.ddelta.data) from_acc(ddelta, step(p.ddelta, row, t)[d]);
  }
  if (p.dinitial_state) std::copy_n(dh.data(), N, p.dinitial_state + (row * p.d_inner + d) * N);
}

}  // namespace

template <typename scalar_t>
void selective_scan_fwd_reference(const SelectiveScanFwdParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  std::vector<acc_t> h(p.d_state);
  for (int64_t row = 0; row < p.batch; ++row) {
    const int64_t length = row_length(p.lengths, row, p.seqlen);
    for (int64_t d = 0; d < p.d_inner; ++d) {
      for (int64_t n = 0; n < p.d_state; ++n) h[n] = initial_state(p, row, d, n);
      for (int64_t t = 0; t < p.seqlen; ++t) {
        acc_t out = 0;
        if (t < length) {
          advance(p, row, t, d, h.data());
          out = read_out(p, row, t, d, h.data());
          if (p.z.data) {
            const acc_t z = to_acc(step(p.z, row, t)[d]);
            out *= z * sigmoid(z);
          }
        }
        from_acc(out, p.out[(row * p.seqlen + t) * p.d_inner + d]);
      }
      if (p.last_state) std::copy_n(h.data(), p.d_state, p.last_state + (row * p.d_inner + d) * p.d_state);
    }
  }
}

template <typename scalar_t>
void selective_scan_bwd_reference(const SelectiveScanBwdParams<scalar_t>& p) {
  using acc_t = acc_type_t<scalar_t>;
  Sums<acc_t> sums;
  sums.dB.assign(p.batch * p.seqlen * p.d_state, 0);
  sums.dC.assign(p.batch * p.seqlen * p.d_state, 0);
  sums.dA.assign(p.d_inner * p.d_state, 0);
  sums.dD.assign(p.d_inner, 0);
  sums.ddelta_bias.assign(p.d_inner, 0);
  for (int64_t row = 0; row < p.batch; ++row) {
    const int64_t length = row_length(p.lengths, row, p.seqlen);
    for (const auto* s : {&p.du, &p.ddelta, &p.dz}) zero_padding(*s, row, length, p.seqlen, p.d_inner);
    for (int64_t d = 0; d < p.d_inner; ++d) backward_channel(p, row, d, sums);
    for (int64_t t = 0; t < p.seqlen; ++t) {
      for (int64_t n = 0; n < p.d_state; ++n) {
        const int64_t bc = (row * p.seqlen + t) * p.d_state + n;
        if (p.dB.data) from_acc(sums.dB[bc], step(p.dB, row, t)[n]);
        if (p.dC.data) from_acc(sums.dC[bc], step(p.dC, row, t)[n]);
      }
    }
  }
  if (p.dA) std::copy(sums.dA.begin(), sums.dA.end(), p.dA);
  if (p.dD) std::copy(sums.dD.begin(), sums.dD.end(), p.dD);
  if (p.ddelta_bias) std::copy(sums.ddelta_bias.begin(), sums.ddelta_bias.end(), p.ddelta_bias);
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

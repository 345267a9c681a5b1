#pragma once

#include "kernels/selective_scan/selective_scan.h"

#include "tests/kernels/op_test_support.h"

// defines: ScanCase, scan_inputs, scan_leaves, scan_results, run_scan, in_double, one_row, naive_scan, looped_scan

namespace mpeft::ops::testing {

struct ScanCase {
  at::ScalarType dtype = at::kFloat;
  int64_t batch = 2, seqlen = 37, d_inner = 20, d_state = 16;
  bool with_D = true, with_z = true, with_bias = true, softplus = true;
  bool with_state = false, shared_state = false, with_lengths = false;
  bool with_terms = false;           ///< state_offset, out_offset, B_scale, B_bias, C_scale, C_bias
  std::vector<int64_t> packed = {};  ///< lengths of packed rows; batch and seqlen follow from them
};

inline std::ostream& operator<<(std::ostream& out, const ScanCase& c) {
  out << toString(c.dtype) << " B" << c.batch << " L" << c.seqlen << " D" << c.d_inner << " N" << c.d_state;
  if (!c.with_D) out << " no D";
  if (!c.with_z) out << " no z";
  if (!c.with_bias) out << " no bias";
  if (!c.softplus) out << " no softplus";
  if (c.with_state) out << (c.shared_state ? " shared state" : " state");
  if (c.with_lengths) out << " lengths";
  if (c.with_terms) out << " terms";
  if (!c.packed.empty()) out << " packed " << ::testing::PrintToString(c.packed);
  return out;
}

/// Inputs as a model has them, rounded to the dtype; every floating one asks for a gradient.
inline SelectiveScanArgs scan_inputs(ScanCase c, at::Device device = at::kCPU) {
  int64_t rows = c.batch;
  std::vector<int32_t> starts{0};
  if (!c.packed.empty()) {
    for (const int64_t length : c.packed) starts.push_back(static_cast<int32_t>(starts.back() + length));
    rows = static_cast<int64_t>(c.packed.size());
    c.batch = 1, c.seqlen = starts.back();
  }
  const auto acc = c.dtype == at::kDouble ? at::kDouble : at::kFloat;
  const auto leaf = [&](const at::Tensor& value, at::ScalarType dtype) {
    return value.to(device, dtype).detach().requires_grad_();
  };
  SelectiveScanArgs a;
  a.u = leaf(seeded(1, {c.batch, c.seqlen, c.d_inner}), c.dtype);
  const auto delta = seeded(2, {c.batch, c.seqlen, c.d_inner}) * 0.5;
  a.delta = leaf(c.softplus ? delta - 1 : delta.abs() * 0.3, c.dtype);
  a.A = leaf(-(seeded(3, {c.d_inner, c.d_state}).abs() * 2 + 0.05), acc);
  a.B = leaf(seeded(4, {c.batch, c.seqlen, c.d_state}), c.dtype);
  a.C = leaf(seeded(5, {c.batch, c.seqlen, c.d_state}), c.dtype);
  if (c.with_D) a.D = leaf(seeded(6, {c.d_inner}), acc);
  if (c.with_z) a.z = leaf(seeded(7, {c.batch, c.seqlen, c.d_inner}), c.dtype);
  if (c.with_bias) a.delta_bias = leaf(seeded(8, {c.d_inner}).abs() * 0.5, acc);
  if (c.with_state) a.initial_state = leaf(seeded(9, {c.shared_state ? 1 : rows, c.d_inner, c.d_state}), acc);
  if (c.with_lengths) {
    a.lengths = at::arange(c.batch, at::kInt).mul(7).remainder(c.seqlen + 1).to(device);
  }
  a.delta_softplus = c.softplus;
  if (c.with_terms) {
    a.state_offset = leaf(seeded(10, {c.d_inner, c.d_state}) * 0.5, acc);
    a.out_offset = leaf(seeded(11, {c.d_inner}), acc);
    a.B_scale = leaf(seeded(12, {c.d_inner, c.d_state}) * 0.5 + 1, acc);
    a.B_bias = leaf(seeded(13, {c.d_inner, c.d_state}) * 0.5, acc);
    a.C_scale = leaf(seeded(14, {c.d_inner, c.d_state}) * 0.5 + 1, acc);
    a.C_bias = leaf(seeded(15, {c.d_inner, c.d_state}) * 0.5, acc);
  }
  if (!c.packed.empty()) a.cu_seqlens = at::tensor(starts, at::kInt).to(device);
  return a;
}

/// The floating inputs, with names.
inline std::vector<Named> scan_leaves(const SelectiveScanArgs& a) {
  std::vector<Named> leaves{{"u", a.u}, {"delta", a.delta}, {"A", a.A}, {"B", a.B}, {"C", a.C}};
  if (a.D) leaves.push_back({"D", *a.D});
  if (a.z) leaves.push_back({"z", *a.z});
  if (a.delta_bias) leaves.push_back({"delta_bias", *a.delta_bias});
  if (a.initial_state) leaves.push_back({"initial_state", *a.initial_state});
  if (a.state_offset) leaves.push_back({"state_offset", *a.state_offset});
  if (a.out_offset) leaves.push_back({"out_offset", *a.out_offset});
  if (a.B_scale) leaves.push_back({"B_scale", *a.B_scale});
  if (a.B_bias) leaves.push_back({"B_bias", *a.B_bias});
  if (a.C_scale) leaves.push_back({"C_scale", *a.C_scale});
  if (a.C_bias) leaves.push_back({"C_bias", *a.C_bias});
  return leaves;
}

using Scan = std::function<std::tuple<at::Tensor, at::Tensor>(const SelectiveScanArgs&)>;

/// out, last_state, and the gradient of every leaf that asks for one, of a fixed random combination of both outputs,
/// whose weights are rounded to `weights` (default: out's dtype).
inline std::vector<Named> scan_results(const SelectiveScanArgs& a, const Scan& scan,
                                       std::optional<at::ScalarType> weights = {}) {
  const auto [out, last_state] = scan(a);
  std::vector<Named> results{{"out", out.detach()}, {"last_state", last_state.detach()}};
  std::vector<Named> wanted;
  for (const auto& leaf : scan_leaves(a)) {
    if (leaf.tensor.requires_grad()) wanted.push_back(leaf);
  }
  if (wanted.empty()) return results;
  std::vector<at::Tensor> tensors;
  for (const auto& leaf : wanted) tensors.push_back(leaf.tensor);
  const auto gradients =
      torch::autograd::grad({out, last_state}, tensors,
                            {seeded(20, out.sizes()).to(weights.value_or(out.scalar_type())).to(out.options()),
                             seeded(21, last_state.sizes()).to(last_state.options())});
  for (size_t i = 0; i < wanted.size(); ++i) results.push_back({"d" + wanted[i].name, gradients[i]});
  return results;
}

inline std::vector<Named> run_scan(const SelectiveScanArgs& a) { return scan_results(a, selective_scan); }

/// The same inputs in fp64 on the CPU.
inline SelectiveScanArgs in_double(const SelectiveScanArgs& a) {
  const auto leaf = [](const at::Tensor& t) {
    return t.detach().to(at::kCPU, at::kDouble).requires_grad_(t.requires_grad());
  };
  const auto optional = [&](const std::optional<at::Tensor>& t) {
    return t ? std::optional<at::Tensor>(leaf(*t)) : std::nullopt;
  };
  SelectiveScanArgs d = a;
  for (at::Tensor* t : {&d.u, &d.delta, &d.A, &d.B, &d.C}) *t = leaf(*t);
  for (auto* t : {&d.D, &d.z, &d.delta_bias, &d.initial_state, &d.state_offset, &d.out_offset, &d.B_scale, &d.B_bias,
                  &d.C_scale, &d.C_bias}) {
    *t = optional(*t);
  }
  if (a.lengths) d.lengths = a.lengths->cpu();
  if (a.cu_seqlens) d.cu_seqlens = a.cu_seqlens->cpu();
  return d;
}

/// Row `row` of packed inputs alone.
inline SelectiveScanArgs one_row(const SelectiveScanArgs& a, int64_t row) {
  const auto starts = a.cu_seqlens->cpu();
  const auto begin = starts[row].item<int64_t>(), end = starts[row + 1].item<int64_t>();
  SelectiveScanArgs one = a;
  one.cu_seqlens.reset();
  for (at::Tensor* t : {&one.u, &one.delta, &one.B, &one.C}) *t = t->slice(1, begin, end);
  if (one.z) one.z = one.z->slice(1, begin, end);
  if (one.initial_state && one.initial_state->size(0) > 1)
    one.initial_state = one.initial_state->slice(0, row, row + 1);
  return one;
}

/// What a scan of packed rows must equal: the rows one by one.
inline Scan looped(const Scan& scan) {
  return [scan](const SelectiveScanArgs& a) {
    std::vector<at::Tensor> outs, states;
    for (int64_t row = 0; row + 1 < a.cu_seqlens->numel(); ++row) {
      const auto [out, state] = scan(one_row(a, row));
      outs.push_back(out);
      states.push_back(state);
    }
    return std::make_tuple(at::cat(outs, 1), at::cat(states, 0));
  };
}

/// The recurrence in plain tensor operations: inputs widened to the accumulation dtype, one step at a time.
inline std::tuple<at::Tensor, at::Tensor> naive_scan(const SelectiveScanArgs& a) {
  if (a.cu_seqlens) return looped(naive_scan)(a);
  const auto acc = a.A.scalar_type();
  auto delta = a.delta.to(acc);
  if (a.delta_bias) delta = delta + *a.delta_bias;
  if (a.delta_softplus) delta = at::softplus(delta);
  const auto u = a.u.to(acc).unbind(1), B = a.B.to(acc).unbind(1), C = a.C.to(acc).unbind(1), dt = delta.unbind(1);
  const int64_t batch = a.u.size(0), d_inner = a.u.size(2), d_state = a.A.size(1);
  auto h = a.initial_state ? a.initial_state->expand({batch, d_inner, d_state})
                           : at::zeros({batch, d_inner, d_state}, a.A.options());
  const auto scaled = [](at::Tensor x, const std::optional<at::Tensor>& scale, const std::optional<at::Tensor>& bias) {
    if (scale) x = x * *scale;
    if (bias) x = x + *bias;
    return x;  // (batch, d_inner or 1, d_state)
  };
  std::vector<at::Tensor> ys;
  for (int64_t t = 0; t < a.u.size(1); ++t) {
    auto next = at::exp(dt[t].unsqueeze(2) * a.A) * h +
                (dt[t] * u[t]).unsqueeze(2) * scaled(B[t].unsqueeze(1), a.B_scale, a.B_bias);
    if (a.lengths) next = at::where((*a.lengths > t).view({batch, 1, 1}), next, h);
    h = next;
    const auto read = a.state_offset ? h + *a.state_offset : h;
    ys.push_back((read * scaled(C[t].unsqueeze(1), a.C_scale, a.C_bias)).sum(2));
  }
  auto y = ys.empty() ? at::zeros(a.u.sizes(), a.A.options()) : at::stack(ys, 1);
  if (a.D) y = y + a.u.to(acc) * *a.D;
  if (a.out_offset) y = y + *a.out_offset;
  if (a.z) y = y * at::silu(a.z->to(acc));
  if (a.lengths) {
    const auto steps = at::arange(a.u.size(1), a.lengths->options());
    y = y * (steps.unsqueeze(0) < a.lengths->unsqueeze(1)).unsqueeze(2);
  }
  return {y.to(a.u.scalar_type()), h};
}

}  // namespace mpeft::ops::testing

// The grids of the published kernels' own tests (state-spaces/mamba tests/ops, Dao-AILab/causal-conv1d tests) with
// their tolerances, and what they leave out: every length to 65, lengths around multiples of 32, widths that are no
// multiple of 32, up to 33 rows. The truth is the operator in fp64. On a GPU the bare kernels run larger grids
// (tests/cuda).
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/selective_scan/selective_scan.h"

#include "tests/kernels/scan_cases.h"

namespace mpeft::ops::testing {
namespace {

struct Tolerance {
  double rtol, atol;
};

Tolerance of_dtype(at::ScalarType dtype) {
  if (dtype == at::kFloat) return {6e-4, 2e-3};
  return dtype == at::kHalf ? Tolerance{3e-3, 5e-3} : Tolerance{3e-2, 5e-2};
}

/// Factors on rtol and atol, as the published test has them.
Tolerance of_tensor(const std::string& name, Tolerance t) {
  const Tolerance weights{std::max(t.rtol, 1e-3), std::max(t.atol, 1e-3)};
  if (name == "du") return {2 * t.rtol, 2 * t.atol};
  if (name == "ddelta") return {5 * t.rtol, 10 * t.atol};
  if (name == "dA") return {weights.rtol, 5 * weights.atol};
  if (name == "dD" || name == "ddelta_bias") return weights;
  return t;
}

void expect_close(const std::vector<Named>& ours, const std::vector<Named>& truth, at::ScalarType dtype) {
  ASSERT_EQ(ours.size(), truth.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    const auto x = ours[i].tensor.detach().to(at::kCPU, at::kDouble), y = truth[i].tensor.to(at::kCPU, at::kDouble);
    const Tolerance t = of_tensor(ours[i].name, of_dtype(dtype));
    EXPECT_TRUE(at::allclose(x, y, t.rtol, t.atol))
        << ours[i].name << ", off by " << (x - y).abs().max().item<double>();
  }
}

class PublishedGrids : public DeviceTest {
 protected:
  void check(const ScanCase& c) {
    SCOPED_TRACE(::testing::PrintToString(c));
    const auto args = scan_inputs(c, device());
    expect_close(run_scan(args), scan_results(in_double(args), selective_scan, c.dtype), c.dtype);
  }
};
MPEFT_INSTANTIATE_DEVICES(PublishedGrids);

TEST_P(PublishedGrids, SelectiveScan) {
  int option = 0;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const int64_t L : {8, 16, 32, 64, 128, 256, 372, 512, 784, 1024, 1134, 2048, 4096}) {
      for (int i = 0; i < 4; ++i, ++option) {  // all 16 combinations of the options in turn
        check({.dtype = dtype,
               .batch = 2,
               .seqlen = L,
               .d_inner = 4,
               .d_state = 8,
               .with_D = option % 2 == 0,
               .with_z = option / 2 % 2 == 0,
               .with_bias = option / 4 % 2 == 0,
               .softplus = option / 8 % 2 == 0});
      }
    }
  }
}

TEST_P(PublishedGrids, SelectiveStateUpdate) {
  int option = 0;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const int64_t N : {16, 32, 64}) {
      for (const int64_t D : {2048, 2064, 4096}) {
        check(
            {.dtype = dtype, .seqlen = 1, .d_inner = D, .d_state = N, .with_z = option++ % 2 == 0, .with_state = true});
      }
    }
  }
}

TEST_P(PublishedGrids, WhatTheyLeaveOutOfTheScan) {
  int option = 0;
  const auto rotate = [&](ScanCase c) {
    c.with_z = option % 2 == 0, c.with_state = option % 3 == 0, c.with_lengths = option % 4 == 3;
    c.with_terms = option % 5 == 0, c.dtype = option % 3 == 1 ? at::kBFloat16 : at::kFloat;
    ++option;
    check(c);
  };
  for (int64_t L = 1; L <= 65; ++L) rotate({.batch = 1 + L % 3, .seqlen = L, .d_inner = L % 2 == 0 ? 24 : 33});
  for (const int64_t L : {95, 97, 127, 129, 255, 257}) rotate({.batch = 1, .seqlen = L, .d_inner = 64});
  for (const int64_t D : {64, 1536, 4128}) rotate({.batch = 1, .seqlen = 33, .d_inner = D});
  for (const int64_t N : {8, 12, 16, 32, 64, 100, 256}) rotate({.seqlen = 19, .d_inner = 16, .d_state = N});
  for (const int64_t B : {1, 2, 7, 33}) rotate({.batch = B, .seqlen = 21, .d_inner = 40});
}

TEST_P(PublishedGrids, CausalConv1d) {
  int option = 0;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const Tolerance t = dtype == at::kFloat  ? Tolerance{3e-4, 1e-3}
                        : dtype == at::kHalf ? Tolerance{3e-3, 5e-3}
                                             : Tolerance{1e-2, 5e-2};
    for (const int64_t D : {64, 4128}) {
      for (const int64_t L : {1, 2, 8, 16, 32, 64, 128, 129, 130, 151, 256, 372, 512, 784, 1024, 1134, 2048, 4096}) {
        if (D > 64 && L > 151) continue;
        const int64_t width = 2 + option % 3;
        const bool silu = option % 2 == 0, with_bias = option / 2 % 2 == 0, with_state = option / 4 % 2 == 0;
        ++option;
        SCOPED_TRACE(std::string(toString(dtype)) + " D" + std::to_string(D) + " L" + std::to_string(L) + " W" +
                     std::to_string(width));
        const auto leaf = [&](const at::Tensor& x, at::ScalarType type, at::Device where) {
          return x.to(dtype).to(where, type).detach().requires_grad_();
        };
        const auto results = [&](at::ScalarType type, at::ScalarType small, at::Device where) {
          // x is a slice of wider rows, as in the published test
          const auto wide = leaf(seeded(1, {2, L, D + 16}), type, where);
          const auto x = wide.slice(2, 8, 8 + D);
          const auto weight = leaf(seeded(2, {D, width}), small, where);
          std::vector<at::Tensor> wanted{wide, weight};
          std::optional<at::Tensor> bias, state;
          if (with_bias) wanted.push_back(*(bias = leaf(seeded(3, {D}), small, where)));
          if (with_state) wanted.push_back(*(state = leaf(seeded(4, {2, width - 1, D}), type, where)));
          const auto [out, last] = causal_conv1d(x, weight, bias, state, {}, silu);
          auto gradients = torch::autograd::grad({out}, wanted, {seeded(20, out.sizes()).to(dtype).to(out.options())});
          gradients.push_back(out);
          gradients.push_back(last);
          return gradients;
        };
        const auto ours = results(dtype, at::kFloat, device()), truth = results(at::kDouble, at::kDouble, at::kCPU);
        for (size_t i = 0; i < ours.size(); ++i) {
          // sums over 2 L products: the published test's tolerance of weights, and the storage's rounding
          const double scale = i == 1 || (i == 2 && with_bias) ? std::sqrt(2.0 * static_cast<double>(L)) : 1;
          EXPECT_TRUE(at::allclose(ours[i].detach().to(at::kCPU, at::kDouble), truth[i].detach(), t.rtol,
                                   std::max(t.atol, 1e-3 * scale)))
              << "tensor " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mpeft::ops::testing

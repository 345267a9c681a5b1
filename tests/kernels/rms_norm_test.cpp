#include "kernels/rms_norm/rms_norm.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include "kernels/common/cpu_features.h"

#include "tests/kernels/op_test_support.h"

namespace mpeft::ops::testing {
namespace {

using ::testing::HasSubstr;

struct NormCase {
  at::ScalarType dtype = at::kFloat;
  int64_t rows = 37, d_model = 20;
  bool with_residual = true;
};

std::ostream& operator<<(std::ostream& out, const NormCase& c) {
  return out << toString(c.dtype) << " rows " << c.rows << " d_model " << c.d_model
             << (c.with_residual ? " residual" : "");
}

struct NormArgs {
  at::Tensor x;
  std::optional<at::Tensor> residual;
  at::Tensor weight;
};

constexpr double kEps = 1e-5;

NormArgs norm_inputs(const NormCase& c, at::Device device = at::kCPU) {
  const auto acc = c.dtype == at::kDouble ? at::kDouble : at::kFloat;
  const auto leaf = [&](const at::Tensor& value, at::ScalarType dtype) {
    return value.to(device, dtype).detach().requires_grad_();
  };
  NormArgs a{leaf(seeded(1, {c.rows, 1, c.d_model}), c.dtype), {}, leaf(seeded(2, {c.d_model}) * 0.3 + 1, acc)};
  if (c.with_residual) a.residual = leaf(seeded(3, {c.rows, 1, c.d_model}) * 3, acc);
  return a;
}

std::vector<Named> norm_leaves(const NormArgs& a) {
  std::vector<Named> leaves{{"x", a.x}, {"weight", a.weight}};
  if (a.residual) leaves.push_back({"residual", *a.residual});
  return leaves;
}

using Norm = std::function<std::tuple<at::Tensor, at::Tensor>(const NormArgs&)>;

std::tuple<at::Tensor, at::Tensor> our_norm(const NormArgs& a) { return rms_norm(a.x, a.residual, a.weight, kEps); }

std::tuple<at::Tensor, at::Tensor> naive_norm(const NormArgs& a) {
  auto r = a.x.to(a.weight.scalar_type());
  if (a.residual) r = r + *a.residual;
  const auto out = r * at::rsqrt(r.square().mean(-1, true) + kEps) * a.weight;
  return {out.to(a.x.scalar_type()), r};
}

std::vector<Named> norm_results(const NormArgs& a, const Norm& norm) {
  const auto [out, residual_out] = norm(a);
  std::vector<Named> results{{"out", out.detach()}, {"residual_out", residual_out.detach()}};
  std::vector<Named> wanted;
  std::vector<at::Tensor> tensors;
  for (const auto& leaf : norm_leaves(a)) {
    if (!leaf.tensor.requires_grad()) continue;
    wanted.push_back(leaf);
    tensors.push_back(leaf.tensor);
  }
  std::vector<at::Tensor> outputs{out}, upstream{seeded(20, out.sizes()).to(out.options())};
  if (residual_out.requires_grad()) {
    outputs.push_back(residual_out);
    upstream.push_back(seeded(21, residual_out.sizes()).to(residual_out.options()));
  }
  const auto gradients = torch::autograd::grad(outputs, tensors, upstream);
  for (size_t i = 0; i < wanted.size(); ++i) results.push_back({"d" + wanted[i].name, gradients[i]});
  return results;
}

std::vector<Named> run_norm(const NormArgs& a) { return norm_results(a, our_norm); }

NormArgs in_double(const NormArgs& a) {
  const auto leaf = [](const at::Tensor& t) { return t.detach().to(at::kCPU, at::kDouble).requires_grad_(); };
  NormArgs d{leaf(a.x), {}, leaf(a.weight)};
  if (a.residual) d.residual = leaf(*a.residual);
  return d;
}

class RmsNormTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(RmsNormTest);

TEST_P(RmsNormTest, MatchesTheReferenceAsCloselyAsPlainTensorCodeDoes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const bool with_residual : {true, false}) {
      for (const int64_t d_model : {1, 7, 20, 64, 768, 2560, 2561}) {
        for (const int64_t rows : {1, 65}) {
          const NormCase c{dtype, rows, d_model, with_residual};
          SCOPED_TRACE(::testing::PrintToString(c));
          const auto args = norm_inputs(c, device());
          expect_as_accurate(run_norm(args), norm_results(args, naive_norm), run_norm(in_double(args)));
        }
      }
    }
  }
}

TEST_P(RmsNormTest, TinyAndHugeRowsStayFinite) {
  for (const float scale : {0.0f, 1e-15f, 1e15f}) {
    auto args = norm_inputs({.with_residual = false}, device());
    args.x = (args.x.detach() * scale).requires_grad_();
    const auto ours = run_norm(args);
    for (const auto& r : ours)
      EXPECT_TRUE(at::isfinite(r.tensor).all().item<bool>()) << r.name << " at scale " << scale;
    EXPECT_LT(relative_error(ours[0].tensor, run_norm(in_double(args))[0].tensor), 1e-6);
  }
}

TEST_P(RmsNormTest, IsBitwiseRepeatable) {
  const auto args = norm_inputs({.dtype = at::kBFloat16, .rows = 300, .d_model = 264}, device());
  const auto first = run_norm(args);
  for (int i = 0; i < 10; ++i) expect_bitwise_equal(run_norm(args), first);
}

TEST_P(RmsNormTest, GradientsAskedForAloneEqualThoseOfTheFullRun) {
  const auto full = run_norm(norm_inputs({}, device()));
  for (size_t alone = 0; alone < 3; ++alone) {
    const auto only = norm_inputs({}, device());
    const auto leaves = norm_leaves(only);
    for (size_t i = 0; i < leaves.size(); ++i) at::Tensor(leaves[i].tensor).set_requires_grad(i == alone);
    const auto results = run_norm(only);
    ASSERT_EQ(results.size(), 3u);
    EXPECT_TRUE(at::equal(results[2].tensor, full[2 + alone].tensor)) << leaves[alone].name;
  }
}

TEST_P(RmsNormTest, AnUnusedOutputCostsNoGradient) {
  const auto args = norm_inputs({}, device());
  const auto [out, residual_out] = our_norm(args);
  const auto weight_out = seeded(20, out.sizes()).to(out.options());
  const auto through_out = torch::autograd::grad({out}, {args.x, *args.residual}, {weight_out}, true);
  const auto naive = torch::autograd::grad({std::get<0>(naive_norm(args))}, {args.x, *args.residual}, {weight_out});
  for (size_t i = 0; i < 2; ++i) EXPECT_LT(relative_error(through_out[i], naive[i]), 1e-6);
  const auto through_residual =
      torch::autograd::grad({residual_out}, {args.x}, {seeded(21, out.sizes()).to(residual_out.options())});
  EXPECT_TRUE(at::equal(through_residual[0], seeded(21, out.sizes()).to(residual_out.options())));
}

TEST_P(RmsNormTest, KnowsWhetherAGradientWillBeWanted) {
  const auto args = norm_inputs({}, device());
  EXPECT_TRUE(std::get<0>(our_norm(args)).requires_grad());
  EXPECT_TRUE(std::get<1>(our_norm(args)).requires_grad());
  at::NoGradGuard no_grad;
  EXPECT_FALSE(std::get<0>(our_norm(args)).requires_grad());
}

TEST_P(RmsNormTest, TakesNoRows) {
  const auto results = run_norm(norm_inputs({.rows = 0}, device()));
  EXPECT_EQ(results[0].tensor.numel(), 0);
  EXPECT_EQ(results[3].tensor.abs().sum().item<double>(), 0.0);
}

TEST(RmsNormReference, GradientsMatchFiniteDifferences) {
  const auto args = norm_inputs({.dtype = at::kDouble, .rows = 3, .d_model = 6});
  const auto weight_out = seeded(30, args.x.sizes()).to(at::kDouble),
             weight_residual = seeded(31, args.x.sizes()).to(at::kDouble);
  expect_gradients_match_differences(norm_leaves(args), [&](const std::vector<at::Tensor>& v) {
    const auto [out, residual_out] = rms_norm(v[0], v[2], v[1], kEps);
    return (out * weight_out).sum() + (residual_out * weight_residual).sum();
  });
}

TEST(RmsNormReference, EqualsPlainTensorCodeInDouble) {
  const auto args = norm_inputs({.dtype = at::kDouble});
  const auto ours = run_norm(args), naive = norm_results(args, naive_norm);
  for (size_t i = 0; i < ours.size(); ++i)
    EXPECT_LT(relative_error(ours[i].tensor, naive[i].tensor), 1e-12) << ours[i].name;
}

TEST(RmsNormCpu, EveryInstructionSetMatchesTheReference) {
  for (const auto capability :
       {kernels::CpuCapability::kBaseline, kernels::CpuCapability::kAvx2, kernels::CpuCapability::kAvx512}) {
    const kernels::ScopedCpuCapability scoped(capability);
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto args = norm_inputs({.dtype = dtype, .rows = 70, .d_model = 150});
      SCOPED_TRACE(std::string(kernels::to_string(kernels::cpu_capability())) + " " + toString(dtype));
      expect_as_accurate(run_norm(args), norm_results(args, naive_norm), run_norm(in_double(args)));
    }
  }
}

TEST(RmsNormCpu, DoesNotDependOnTheNumberOfThreads) {
  const auto args = norm_inputs({.rows = 200, .d_model = 260});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = run_norm(args);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    expect_bitwise_equal(run_norm(args), one);
  }
  at::set_num_threads(before);
}

TEST(RmsNorm, NamesTheTensorThatIsWrong) {
  const auto good = norm_inputs({.dtype = at::kBFloat16});
  const auto expect_refused = [](const NormArgs& args, const std::string& text) {
    try {
      our_norm(args);
      FAIL() << "accepted: " << text;
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  auto bad = good;
  bad.residual = good.residual->to(at::kBFloat16);
  expect_refused(bad, "residual must be Float, got BFloat16");
  bad = good;
  bad.weight = at::ones({21});
  expect_refused(bad, "weight must have shape [20], got [21]");
}

TEST(RmsNorm, RefusesToBeDifferentiatedTwice) {
  const auto args = norm_inputs({.rows = 4});
  const auto dx =
      torch::autograd::grad({std::get<0>(our_norm(args)).sum()}, {args.x}, {}, true, /*create_graph=*/true)[0];
  EXPECT_THROW(dx.sum().backward(), std::exception);
}

}  // namespace
}  // namespace mpeft::ops::testing

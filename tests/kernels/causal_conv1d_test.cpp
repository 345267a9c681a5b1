#include "kernels/causal_conv1d/causal_conv1d.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include "kernels/common/cpu_features.h"

#include "tests/kernels/op_test_support.h"

namespace mpeft::ops::testing {
namespace {

using ::testing::HasSubstr;

struct ConvCase {
  at::ScalarType dtype = at::kFloat;
  int64_t batch = 2, seqlen = 37, d_inner = 20, width = 4;
  bool with_bias = true, silu = true, with_state = false, shared_state = false, with_lengths = false;
  std::vector<int64_t> packed = {};  ///< lengths of packed rows; batch and seqlen follow from them
};

std::ostream& operator<<(std::ostream& out, const ConvCase& c) {
  return out << toString(c.dtype) << " B" << c.batch << " L" << c.seqlen << " D" << c.d_inner << " W" << c.width
             << (c.with_bias ? "" : " no bias") << (c.silu ? "" : " no SiLU") << (c.with_state ? " state" : "")
             << (c.shared_state ? " (shared)" : "") << (c.with_lengths ? " lengths" : "")
             << (c.packed.empty() ? "" : " packed " + ::testing::PrintToString(c.packed));
}

struct ConvArgs {
  at::Tensor x, weight;
  std::optional<at::Tensor> bias, initial_state, lengths;
  bool silu = true;
  std::optional<at::Tensor> cu_seqlens = {};
};

ConvArgs conv_inputs(ConvCase c, at::Device device = at::kCPU) {
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
  ConvArgs a;
  a.x = leaf(seeded(1, {c.batch, c.seqlen, c.d_inner}), c.dtype);
  a.weight = leaf(seeded(2, {c.d_inner, c.width}), acc);
  if (c.with_bias) a.bias = leaf(seeded(3, {c.d_inner}), acc);
  if (c.with_state) a.initial_state = leaf(seeded(4, {c.shared_state ? 1 : rows, c.width - 1, c.d_inner}), c.dtype);
  if (c.with_lengths) a.lengths = at::arange(c.batch, at::kInt).mul(7).remainder(c.seqlen + 1).to(device);
  a.silu = c.silu;
  if (!c.packed.empty()) a.cu_seqlens = at::tensor(starts, at::kInt).to(device);
  return a;
}

std::vector<Named> conv_leaves(const ConvArgs& a) {
  std::vector<Named> leaves{{"x", a.x}, {"weight", a.weight}};
  if (a.bias) leaves.push_back({"bias", *a.bias});
  if (a.initial_state) leaves.push_back({"initial_state", *a.initial_state});
  return leaves;
}

using Conv = std::function<std::tuple<at::Tensor, at::Tensor>(const ConvArgs&)>;

std::tuple<at::Tensor, at::Tensor> our_conv(const ConvArgs& a) {
  return causal_conv1d(a.x, a.weight, a.bias, a.initial_state, a.lengths, a.silu, a.cu_seqlens);
}

/// What a convolution of packed rows must equal: the rows one by one.
Conv looped(const Conv& conv) {
  return [conv](const ConvArgs& a) {
    const auto starts = a.cu_seqlens->cpu();
    std::vector<at::Tensor> outs, states;
    for (int64_t row = 0; row + 1 < starts.numel(); ++row) {
      ConvArgs one = a;
      one.cu_seqlens.reset();
      one.x = a.x.slice(1, starts[row].item<int64_t>(), starts[row + 1].item<int64_t>());
      if (a.initial_state && a.initial_state->size(0) > 1) one.initial_state = a.initial_state->slice(0, row, row + 1);
      const auto [out, state] = conv(one);
      outs.push_back(out);
      states.push_back(state);
    }
    return std::make_tuple(at::cat(outs, 1), at::cat(states, 0));
  };
}

/// The convolution as width shifted products, inputs widened to the accumulation dtype.
std::tuple<at::Tensor, at::Tensor> naive_conv(const ConvArgs& a) {
  if (a.cu_seqlens) return looped(naive_conv)(a);
  const auto acc = a.weight.scalar_type();
  const int64_t batch = a.x.size(0), seqlen = a.x.size(1), d_inner = a.x.size(2), width = a.weight.size(1);
  const auto before = a.initial_state ? a.initial_state->expand({batch, width - 1, d_inner})
                                      : at::zeros({batch, width - 1, d_inner}, a.x.options());
  const auto padded = at::cat({before, a.x}, 1);  // (batch, width - 1 + seqlen, d_inner)
  auto out =
      a.bias ? a.bias->expand({batch, seqlen, d_inner}) : at::zeros({batch, seqlen, d_inner}, a.weight.options());
  for (int64_t k = 0; k < width; ++k) out = out + padded.slice(1, k, k + seqlen).to(acc) * a.weight.select(1, k);
  if (a.silu) out = at::silu(out);
  std::vector<at::Tensor> last;
  for (int64_t row = 0; row < batch; ++row) {
    const int64_t length = a.lengths ? (*a.lengths)[row].item<int64_t>() : seqlen;
    last.push_back(padded[row].slice(0, length, length + width - 1));
  }
  if (a.lengths) {
    const auto steps = at::arange(seqlen, a.lengths->options());
    out = out * (steps.unsqueeze(0) < a.lengths->unsqueeze(1)).unsqueeze(2);
  }
  return {out.to(a.x.scalar_type()), at::stack(last)};
}

std::vector<Named> conv_results(const ConvArgs& a, const Conv& conv) {
  const auto [out, last_state] = conv(a);
  std::vector<Named> results{{"out", out.detach()}, {"last_state", last_state.detach()}};
  std::vector<Named> wanted;
  std::vector<at::Tensor> tensors;
  for (const auto& leaf : conv_leaves(a)) {
    if (!leaf.tensor.requires_grad()) continue;
    wanted.push_back(leaf);
    tensors.push_back(leaf.tensor);
  }
  std::vector<at::Tensor> outputs{out}, upstream{seeded(20, out.sizes()).to(out.options())};
  if (last_state.requires_grad()) {  // plain code's last_state depends on x alone
    outputs.push_back(last_state);
    upstream.push_back(seeded(21, last_state.sizes()).to(last_state.options()));
  }
  const auto gradients = torch::autograd::grad(outputs, tensors, upstream);
  for (size_t i = 0; i < wanted.size(); ++i) results.push_back({"d" + wanted[i].name, gradients[i]});
  return results;
}

std::vector<Named> run_conv(const ConvArgs& a) { return conv_results(a, our_conv); }

ConvArgs in_double(const ConvArgs& a) {
  const auto leaf = [](const at::Tensor& t) { return t.detach().to(at::kCPU, at::kDouble).requires_grad_(); };
  const auto optional = [&](const std::optional<at::Tensor>& t) {
    return t ? std::optional<at::Tensor>(leaf(*t)) : std::nullopt;
  };
  ConvArgs d{leaf(a.x), leaf(a.weight), optional(a.bias), optional(a.initial_state), {}, a.silu};
  if (a.lengths) d.lengths = a.lengths->cpu();
  if (a.cu_seqlens) d.cu_seqlens = a.cu_seqlens->cpu();
  return d;
}

class CausalConv1dTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(CausalConv1dTest);

TEST_P(CausalConv1dTest, MatchesTheReferenceAsCloselyAsPlainTensorCodeDoes) {
  std::vector<ConvCase> cases;
  for (const int64_t L : {1, 2, 3, 8, 31, 32, 33, 65, 130}) cases.push_back({.seqlen = L, .with_state = L % 2 == 0});
  for (const int64_t D : {1, 8, 64, 129, 1544}) cases.push_back({.d_inner = D});
  for (const int64_t width : {2, 3, 4}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      cases.push_back({.dtype = dtype, .width = width, .with_state = true});
      cases.push_back(
          {.dtype = dtype, .batch = 6, .width = width, .with_state = true, .shared_state = true, .with_lengths = true});
      cases.push_back({.dtype = dtype, .width = width, .with_bias = false, .silu = false});
      cases.push_back({.dtype = dtype, .batch = 6, .seqlen = 70, .d_inner = 136, .width = width, .with_lengths = true});
      cases.push_back({.dtype = dtype, .width = width, .with_state = true, .packed = {5, 1, 0, 33, 2, 1, 3, 70}});
      cases.push_back({.dtype = dtype,
                       .d_inner = 24,
                       .width = width,
                       .with_state = true,
                       .shared_state = true,
                       .packed = {1, 1, 9}});
    }
  }
  for (const auto& c : cases) {
    SCOPED_TRACE(::testing::PrintToString(c));
    const auto args = conv_inputs(c, device());
    // dx of bf16 and fp16 rounds once more where the gradient of last_state is added in.
    expect_as_accurate(run_conv(args), conv_results(args, naive_conv), run_conv(in_double(args)));
  }
}

TEST_P(CausalConv1dTest, IsBitwiseRepeatable) {
  const auto args =
      conv_inputs({.dtype = at::kBFloat16, .batch = 3, .seqlen = 100, .d_inner = 264, .with_state = true}, device());
  const auto first = run_conv(args);
  for (int i = 0; i < 10; ++i) expect_bitwise_equal(run_conv(args), first);
}

TEST_P(CausalConv1dTest, GradientsAskedForAloneEqualThoseOfTheFullRun) {
  const ConvCase c{.with_state = true};
  const auto full = run_conv(conv_inputs(c, device()));
  for (size_t alone = 0; alone < 4; ++alone) {
    const auto only = conv_inputs(c, device());
    const auto leaves = conv_leaves(only);
    for (size_t i = 0; i < leaves.size(); ++i) at::Tensor(leaves[i].tensor).set_requires_grad(i == alone);
    const auto results = run_conv(only);
    ASSERT_EQ(results.size(), 3u);
    EXPECT_TRUE(at::equal(results[2].tensor, full[2 + alone].tensor)) << leaves[alone].name;
  }
}

TEST_P(CausalConv1dTest, TakesAViewOfAWiderRow) {
  const auto plain = conv_inputs({.dtype = at::kBFloat16, .d_inner = 48}, device());
  auto view = plain;
  view.x = at::cat({plain.x.detach(), plain.x.detach() * 2}, 2).slice(2, 0, 48).requires_grad_();
  ASSERT_FALSE(view.x.is_contiguous());
  expect_bitwise_equal(run_conv(view), run_conv(plain));
}

TEST_P(CausalConv1dTest, ChainedChunksEqualTheUnchunkedRun) {
  const auto args = conv_inputs({.seqlen = 50, .with_state = true}, device());
  const auto in_chunks = [&](const ConvArgs& a) {
    std::vector<at::Tensor> outs;
    auto chunk = a;
    int64_t begin = 0;
    for (const int64_t length : {1, 2, 17, 30}) {
      chunk.x = a.x.slice(1, begin, begin + length);
      auto [out, last] = our_conv(chunk);
      outs.push_back(out);
      chunk.initial_state = last;
      begin += length;
    }
    return std::make_tuple(at::cat(outs, 1), *chunk.initial_state);
  };
  expect_as_accurate(conv_results(args, in_chunks), run_conv(args), run_conv(in_double(args)));
}

TEST_P(CausalConv1dTest, PackedRowsEqualTheRowsOneByOne) {
  for (const std::vector<int64_t>& rows :
       std::vector<std::vector<int64_t>>{{1}, {37}, {1, 1, 1, 1}, {0, 2, 0, 16, 1, 33, 3, 0}, {130, 2, 1, 64, 31, 1}}) {
    for (const bool state : {false, true}) {
      const ConvCase c{.dtype = at::kBFloat16, .d_inner = 72, .with_state = state, .packed = rows};
      SCOPED_TRACE(::testing::PrintToString(c));
      const auto args = conv_inputs(c, device());
      const auto packed = run_conv(args), one_by_one = conv_results(args, looped(our_conv));
      ASSERT_EQ(packed.size(), one_by_one.size());
      for (size_t i = 0; i < packed.size(); ++i) {  // only the sums over rows are in another order
        EXPECT_LT(relative_error(packed[i].tensor, one_by_one[i].tensor), packed[i].tensor.dim() < 3 ? 1e-6 : 1e-12)
            << packed[i].name;
      }
    }
  }
}

TEST_P(CausalConv1dTest, StepsBehindThePackedRowsArePadding) {
  auto args = conv_inputs({.d_inner = 24, .packed = {5, 12, 9}}, device());
  const auto whole = run_conv(args);
  args.cu_seqlens = at::tensor({0, 5, 17, 17}, at::kInt).to(device());
  const auto padded = run_conv(args);
  EXPECT_EQ(padded[0].tensor.slice(1, 17).abs().sum().item<double>(), 0.0);
  EXPECT_TRUE(at::equal(padded[0].tensor.slice(1, 0, 17), whole[0].tensor.slice(1, 0, 17)));
  EXPECT_EQ(padded[2].tensor.slice(1, 17).abs().sum().item<double>(), 0.0);  // dx
}

TEST_P(CausalConv1dTest, LastStateIsTheInputsThemselves) {
  auto args = conv_inputs({.dtype = at::kBFloat16, .batch = 3, .seqlen = 6, .with_state = true}, device());
  args.lengths = at::tensor({0, 2, 6}, at::kInt).to(device());
  const auto last = std::get<1>(our_conv(args));
  const auto padded = at::cat({*args.initial_state, args.x}, 1);
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t length = (*args.lengths)[row].item<int64_t>();
    EXPECT_TRUE(at::equal(last[row], padded[row].slice(0, length, length + 3)));
  }
}

TEST_P(CausalConv1dTest, LargeInputsOfTheActivationStayFinite) {
  auto args = conv_inputs({.seqlen = 24}, device());
  args.x = at::linspace(-300, 300, args.x.numel()).view(args.x.sizes()).to(device()).requires_grad_();
  expect_as_accurate(run_conv(args), conv_results(args, naive_conv), run_conv(in_double(args)));
}

TEST_P(CausalConv1dTest, KnowsWhetherAGradientWillBeWanted) {
  const auto args = conv_inputs({}, device());
  EXPECT_TRUE(std::get<0>(our_conv(args)).requires_grad());
  at::NoGradGuard no_grad;
  EXPECT_FALSE(std::get<0>(our_conv(args)).requires_grad());
}

TEST_P(CausalConv1dTest, TakesEmptyBatchesAndSequences) {
  for (const ConvCase& c : {ConvCase{.batch = 0, .with_state = true}, ConvCase{.seqlen = 0, .with_state = true}}) {
    const auto args = conv_inputs(c, device());
    const auto results = run_conv(args);
    EXPECT_TRUE(at::equal(results[1].tensor, args.initial_state->detach()));
    EXPECT_EQ(results[3].tensor.abs().sum().item<double>(), 0.0);
  }
}

TEST(CausalConv1dReference, GradientsMatchFiniteDifferences) {
  for (const bool silu : {true, false}) {
    const auto args = conv_inputs(
        {.dtype = at::kDouble, .seqlen = 9, .d_inner = 3, .silu = silu, .with_state = true, .with_lengths = true});
    const auto weight_out = seeded(30, args.x.sizes()).to(at::kDouble),
               weight_state = seeded(31, {2, 3, 3}).to(at::kDouble);
    expect_gradients_match_differences(conv_leaves(args), [&](const std::vector<at::Tensor>& x) {
      const auto [out, last] = causal_conv1d(x[0], x[1], x[2], x[3], args.lengths, silu);
      return (out * weight_out).sum() + (last * weight_state).sum();
    });
  }
}

TEST(CausalConv1dReference, EqualsPlainTensorCodeInDouble) {
  const auto args = conv_inputs({.dtype = at::kDouble, .batch = 4, .with_state = true, .with_lengths = true});
  const auto ours = run_conv(args), naive = conv_results(args, naive_conv);
  for (size_t i = 0; i < ours.size(); ++i)
    EXPECT_LT(relative_error(ours[i].tensor, naive[i].tensor), 1e-12) << ours[i].name;
}

TEST(CausalConv1dCpu, EveryInstructionSetMatchesTheReference) {
  for (const auto capability :
       {kernels::CpuCapability::kBaseline, kernels::CpuCapability::kAvx2, kernels::CpuCapability::kAvx512}) {
    const kernels::ScopedCpuCapability scoped(capability);
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto args = conv_inputs(
          {.dtype = dtype, .batch = 3, .seqlen = 35, .d_inner = 150, .with_state = true, .with_lengths = true});
      SCOPED_TRACE(std::string(kernels::to_string(kernels::cpu_capability())) + " " + toString(dtype));
      expect_as_accurate(run_conv(args), conv_results(args, naive_conv), run_conv(in_double(args)));
    }
  }
}

TEST(CausalConv1dCpu, DoesNotDependOnTheNumberOfThreads) {
  const auto args = conv_inputs({.batch = 3, .seqlen = 70, .d_inner = 520, .with_state = true});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = run_conv(args);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    expect_bitwise_equal(run_conv(args), one);
  }
  at::set_num_threads(before);
}

TEST(CausalConv1d, NamesTheTensorThatIsWrong) {
  const auto good = conv_inputs({.with_state = true});
  const auto expect_refused = [](const ConvArgs& args, const std::string& text) {
    try {
      our_conv(args);
      FAIL() << "accepted: " << text;
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  auto bad = good;
  bad.weight = at::zeros({20, 5});
  expect_refused(bad, "width 2, 3 or 4, got [20, 5]");
  bad = good;
  bad.bias = at::zeros({19});
  expect_refused(bad, "bias must have shape [20], got [19]");
  bad = good;
  bad.initial_state = good.initial_state->to(at::kHalf);
  expect_refused(bad, "initial_state must be Float, got Half");
  bad = good;
  bad.cu_seqlens = at::tensor({0, 37}, at::kInt);
  expect_refused(bad, "with cu_seqlens, x must be (1, steps of all rows, ...)");
}

TEST(CausalConv1d, RefusesToBeDifferentiatedTwice) {
  const auto args = conv_inputs({.seqlen = 5});
  const auto dx =
      torch::autograd::grad({std::get<0>(our_conv(args)).sum()}, {args.x}, {}, true, /*create_graph=*/true)[0];
  EXPECT_THROW(dx.sum().backward(), std::exception);
}

}  // namespace
}  // namespace mpeft::ops::testing

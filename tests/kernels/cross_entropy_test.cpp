#include "kernels/cross_entropy/cross_entropy.h"

#include <limits>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include "kernels/common/cpu_features.h"

#include "tests/kernels/op_test_support.h"

namespace mpeft::ops::testing {
namespace {

using ::testing::HasSubstr;

struct EntropyCase {
  at::ScalarType dtype = at::kFloat;
  int64_t rows = 9, columns = 61, n_valid = 0;
  int64_t pitch = 0;   ///< columns of the memory the rows lie in; 0: columns
  int64_t offset = 0;  ///< elements before the first
};

std::ostream& operator<<(std::ostream& out, const EntropyCase& c) {
  return out << toString(c.dtype) << " rows " << c.rows << " columns " << c.columns << " n_valid " << c.n_valid
             << " pitch " << c.pitch << " offset " << c.offset;
}

struct EntropyArgs {
  at::Tensor logits;  ///< (rows, columns), a leaf
  at::Tensor labels;  ///< (rows): the first, the last valid, an ignored one, then any
  int64_t n_valid = 0;
};

EntropyArgs entropy_inputs(const EntropyCase& c, at::Device device = at::kCPU) {
  const int64_t pitch = c.pitch > 0 ? c.pitch : c.columns, n_valid = c.n_valid > 0 ? c.n_valid : c.columns;
  const auto memory = (seeded(1, {c.rows * pitch + c.offset}) * 4).to(device, c.dtype);
  auto labels = at::empty({c.rows}, at::kLong);
  for (int64_t row = 0; row < c.rows; ++row) {
    labels[row] = row == 0 ? 0 : row == 1 ? n_valid - 1 : row == 2 ? kIgnoreIndex : (row * 7919) % n_valid;
  }
  return {memory.as_strided({c.rows, c.columns}, {pitch, 1}, c.offset).requires_grad_(), labels.to(device), c.n_valid};
}

/// Losses and the gradient of a weighted sum of them.
using Loss = std::function<at::Tensor(const at::Tensor& logits, const EntropyArgs&)>;

at::Tensor our_loss(const at::Tensor& logits, const EntropyArgs& a) {
  return cross_entropy(logits, a.labels, kIgnoreIndex, a.n_valid);
}

at::Tensor naive_loss(const at::Tensor& logits, const EntropyArgs& a) {
  const auto wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto valid = a.n_valid > 0 ? logits.narrow(1, 0, a.n_valid) : logits;
  return at::cross_entropy_loss(valid.to(wide), a.labels, {}, at::Reduction::None, kIgnoreIndex);
}

std::vector<Named> entropy_results(const EntropyArgs& a, const Loss& loss) {
  const auto leaf = a.logits.detach().requires_grad_();
  const auto losses = loss(leaf, a);
  const auto weights = seeded(2, losses.sizes()).to(losses.options());
  return {{"losses", losses.detach()}, {"dlogits", torch::autograd::grad({losses}, {leaf}, {weights})[0]}};
}

std::vector<Named> run_entropy(const EntropyArgs& a) { return entropy_results(a, our_loss); }

EntropyArgs in_double(const EntropyArgs& a) {
  return {a.logits.detach().to(at::kCPU, at::kDouble).requires_grad_(), a.labels.to(at::kCPU), a.n_valid};
}

/// The losses and what takes the place of the logits, in memory that has NaN between the rows.
std::vector<Named> run_in_place(const EntropyArgs& a, double scale, int64_t pitch) {
  auto memory = at::full({a.logits.size(0), pitch}, std::numeric_limits<double>::quiet_NaN(), a.logits.options());
  auto logits = memory.narrow(1, 0, a.logits.size(1));
  logits.copy_(a.logits.detach());
  const auto losses = cross_entropy_take_gradient_(logits, a.labels, scale, kIgnoreIndex, a.n_valid);
  const auto between = memory.narrow(1, a.logits.size(1), pitch - a.logits.size(1));
  EXPECT_TRUE(at::isnan(between).all().item<bool>()) << "wrote between the rows";
  return {{"losses", losses}, {"dlogits", logits.clone()}};
}

class CrossEntropyTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(CrossEntropyTest);

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

TEST_P(CrossEntropyTest, MatchesTheReferenceAsCloselyAsPlainTensorCodeDoes) {
  for (const auto dtype : kDtypes) {
    for (const int64_t columns : {1, 2, 7, 16, 61, 1000, 50277, 50280}) {
      for (const int64_t n_valid : {int64_t{0}, columns - columns / 3}) {
        const EntropyCase c{.dtype = dtype, .columns = columns, .n_valid = n_valid};
        SCOPED_TRACE(::testing::PrintToString(c));
        const auto args = entropy_inputs(c, device());
        expect_as_accurate(run_entropy(args), entropy_results(args, naive_loss), run_entropy(in_double(args)));
      }
    }
  }
}

TEST_P(CrossEntropyTest, TakesRowsThatStartAnywhere) {
  for (const auto dtype : kDtypes) {
    for (const int64_t offset : {0, 1, 3}) {
      for (const int64_t pitch : {61, 64, 73}) {
        const EntropyCase c{.dtype = dtype, .pitch = pitch, .offset = offset};
        SCOPED_TRACE(::testing::PrintToString(c));
        const auto args = entropy_inputs(c, device());
        expect_as_accurate(run_entropy(args), entropy_results(args, naive_loss), run_entropy(in_double(args)));
      }
    }
  }
}

TEST_P(CrossEntropyTest, TheGradientTakesThePlaceOfTheLogits) {
  for (const auto dtype : kDtypes) {
    for (const int64_t columns : {1, 61, 64, 50277, 131072}) {
      for (const int64_t n_valid : {int64_t{0}, (columns + 1) / 2}) {
        const EntropyCase c{.dtype = dtype, .columns = columns, .n_valid = n_valid};
        SCOPED_TRACE(::testing::PrintToString(c));
        const auto args = entropy_inputs(c, device());
        const double scale = 2.5;
        const auto leaf = args.logits.detach().requires_grad_();
        const auto naive = naive_loss(leaf, args);
        const auto exact_args = in_double(args);
        const auto exact = our_loss(exact_args.logits, exact_args);
        expect_as_accurate(
            run_in_place(args, scale, columns + 3),
            {{"losses", naive.detach()}, {"dlogits", torch::autograd::grad({naive.sum() * scale}, {leaf})[0]}},
            {{"losses", exact.detach()},
             {"dlogits", torch::autograd::grad({exact.sum() * scale}, {exact_args.logits})[0]}});
      }
    }
  }
}

TEST_P(CrossEntropyTest, PredictsTheFirstOfTheLargest) {
  for (const auto dtype : kDtypes) {
    for (const int64_t columns : {1, 61, 5000}) {
      const auto args = entropy_inputs({.dtype = dtype, .rows = 40, .columns = columns}, device());
      // values that are few, so that many are equal
      const auto logits = args.logits.detach().mul(0.3).round();
      const auto [losses, predicted] = cross_entropy_and_prediction(logits, args.labels);
      const auto largest = std::get<0>(logits.to(at::kFloat).max(-1, true));
      const auto is_largest = logits.to(at::kFloat) == largest;
      const auto place = at::arange(columns, is_largest.options().dtype(at::kLong)).expand_as(is_largest);
      const auto first = place.masked_fill(is_largest.logical_not(), columns).amin(-1);
      EXPECT_TRUE(at::equal(predicted, first)) << columns;
      EXPECT_TRUE(at::equal(losses, cross_entropy(logits, args.labels)));
    }
  }
}

TEST_P(CrossEntropyTest, ExtremeLogitsGiveFiniteLossesAndGradients) {
  auto logits = at::zeros({4, 50}, at::kFloat);
  logits[0] = 3e4;
  logits[1].narrow(0, 0, 25).fill_(-std::numeric_limits<float>::infinity());
  logits[2][7] = 300;
  logits[3].fill_(-3e4);
  EntropyArgs args{logits.to(device()).requires_grad_(), at::full({4}, 30, at::kLong).to(device()), 0};
  const auto ours = run_entropy(args), truth = run_entropy(in_double(args));
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_TRUE(at::isfinite(ours[i].tensor).all().item<bool>()) << ours[i].name;
    EXPECT_LT(relative_error(ours[i].tensor, truth[i].tensor), 1e-6) << ours[i].name;
  }
}

TEST_P(CrossEntropyTest, IgnoredRowsHaveNoLossAndNoGradient) {
  const auto args = entropy_inputs({.dtype = at::kBFloat16, .columns = 200, .n_valid = 150}, device());
  const auto results = run_in_place(args, 1.0, 208);
  EXPECT_EQ(results[0].tensor[2].item<double>(), 0.0);
  EXPECT_EQ(results[1].tensor[2].abs().sum().item<double>(), 0.0);
  EXPECT_EQ(results[1].tensor.narrow(1, 150, 50).abs().sum().item<double>(), 0.0);
  EXPECT_GT(results[1].tensor[3].abs().sum().item<double>(), 0.0);
}

TEST_P(CrossEntropyTest, IsBitwiseRepeatable) {
  const auto args = entropy_inputs({.dtype = at::kBFloat16, .rows = 65, .columns = 50280}, device());
  const auto first = run_entropy(args);
  const auto first_in_place = run_in_place(args, 1.0, 50280);
  for (int i = 0; i < 3; ++i) {
    expect_bitwise_equal(run_entropy(args), first);
    expect_bitwise_equal(run_in_place(args, 1.0, 50280), first_in_place);
  }
}

TEST_P(CrossEntropyTest, TakesNoRows) {
  const auto args = entropy_inputs({.rows = 0}, device());
  for (const auto& result : run_entropy(args)) EXPECT_EQ(result.tensor.numel(), 0) << result.name;
  for (const auto& result : run_in_place(args, 1.0, 61)) EXPECT_EQ(result.tensor.numel(), 0) << result.name;
}

TEST_P(CrossEntropyTest, KnowsWhetherAGradientWillBeWanted) {
  const auto args = entropy_inputs({}, device());
  EXPECT_TRUE(our_loss(args.logits, args).requires_grad());
  EXPECT_FALSE(our_loss(args.logits.detach(), args).requires_grad());
  at::NoGradGuard no_grad;
  EXPECT_FALSE(our_loss(args.logits, args).requires_grad());
}

TEST_P(CrossEntropyTest, OverwritingWhatAutogradKeepsIsNoticed) {
  const auto args = entropy_inputs({}, device());
  auto leaf = args.logits.detach().clone().requires_grad_();
  EXPECT_THROW(cross_entropy_take_gradient_(leaf, args.labels), c10::Error);  // part of a graph
  const auto kept = our_loss(leaf, args);
  auto taken = leaf.detach();
  cross_entropy_take_gradient_(taken, args.labels);
  EXPECT_THROW(kept.sum().backward(), c10::Error);  // its saved logits are gone
}

TEST(CrossEntropyReference, GradientMatchesFiniteDifferences) {
  const auto args = entropy_inputs({.dtype = at::kDouble, .rows = 5, .columns = 9, .n_valid = 7});
  const auto weights = seeded(3, {5}).to(at::kDouble);
  expect_gradients_match_differences({{"logits", args.logits}}, [&](const std::vector<at::Tensor>& v) {
    return (our_loss(v[0], args) * weights).sum();
  });
}

TEST(CrossEntropyReference, EqualsPlainTensorCodeInDouble) {
  for (const int64_t n_valid : {0, 40}) {
    const auto args = entropy_inputs({.dtype = at::kDouble, .n_valid = n_valid});
    const auto ours = run_entropy(args), naive = entropy_results(args, naive_loss);
    for (size_t i = 0; i < ours.size(); ++i)
      EXPECT_LT(relative_error(ours[i].tensor, naive[i].tensor), 1e-13) << ours[i].name;
  }
}

TEST(CrossEntropyCpu, EveryInstructionSetMatchesTheReference) {
  for (const auto capability :
       {kernels::CpuCapability::kBaseline, kernels::CpuCapability::kAvx2, kernels::CpuCapability::kAvx512}) {
    const kernels::ScopedCpuCapability scoped(capability);
    for (const auto dtype : kDtypes) {
      for (const int64_t columns : {150, 61}) {
        const auto args = entropy_inputs({.dtype = dtype, .rows = 20, .columns = columns});
        SCOPED_TRACE(std::string(kernels::to_string(kernels::cpu_capability())) + " " + toString(dtype));
        expect_as_accurate(run_entropy(args), entropy_results(args, naive_loss), run_entropy(in_double(args)));
      }
    }
  }
}

TEST(CrossEntropyCpu, DoesNotDependOnTheNumberOfThreads) {
  const auto args = entropy_inputs({.rows = 50, .columns = 700});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = run_entropy(args);
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    expect_bitwise_equal(run_entropy(args), one);
  }
  at::set_num_threads(before);
}

TEST(CrossEntropy, NamesWhatIsWrong) {
  const auto good = entropy_inputs({});
  const auto expect_refused = [](const EntropyArgs& args, const std::string& text) {
    try {
      our_loss(args.logits.detach(), args);
      FAIL() << "accepted: " << text;
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  auto bad = good;
  bad.labels = good.labels.to(at::kInt);
  expect_refused(bad, "labels must be Long, got Int");
  bad = good;
  bad.labels = good.labels.clone();
  bad.labels[4] = 61;
  expect_refused(bad, "labels[4] is 61, expected a column in [0, 61) or -100");
  bad = good;
  bad.n_valid = 62;
  expect_refused(bad, "n_valid must be 0 (all) to 61, got 62");
  bad = good;
  bad.logits = good.logits.detach()[0];
  expect_refused(bad, "logits must be (rows, columns), got [61]");
  auto transposed = at::zeros({61, 9}).t();
  EXPECT_THROW(cross_entropy_take_gradient_(transposed, good.labels), c10::Error);
}

TEST(CrossEntropy, RefusesToBeDifferentiatedTwice) {
  const auto args = entropy_inputs({});
  const auto dlogits =
      torch::autograd::grad({our_loss(args.logits, args).sum()}, {args.logits}, {}, true, /*create_graph=*/true)[0];
  EXPECT_THROW(dlogits.sum().backward(), std::exception);
}

}  // namespace
}  // namespace mpeft::ops::testing

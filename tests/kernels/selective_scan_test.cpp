#include "kernels/selective_scan/selective_scan.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gmock/gmock.h>

#include "kernels/common/cpu_features.h"

#include "tests/kernels/scan_cases.h"

namespace mpeft::ops::testing {
namespace {

using ::testing::HasSubstr;

std::vector<ScanCase> parity_cases() {
  std::vector<ScanCase> cases;
  const auto add = [&](auto change) {
    ScanCase c;
    change(c);
    cases.push_back(c);
  };
  for (const int64_t L : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65}) add([&](ScanCase& c) { c.seqlen = L; });
  for (const int64_t D : {1, 8, 64, 129}) add([&](ScanCase& c) { c.d_inner = D; });
  for (const int64_t N : {1, 4, 5, 8, 12, 32, 64}) add([&](ScanCase& c) { c.d_state = N; });
  add([](ScanCase& c) { c.seqlen = 1100, c.batch = 1; });
  add([](ScanCase& c) { c.d_inner = 1536 + 8, c.seqlen = 18, c.batch = 1; });
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    add([&](ScanCase& c) { c.dtype = dtype, c.with_state = true; });
    add([&](ScanCase& c) { c.dtype = dtype, c.with_lengths = true, c.batch = 5; });
    add([&](ScanCase& c) {
      c.dtype = dtype, c.with_lengths = c.with_state = c.shared_state = true, c.batch = 5, c.d_inner = 33;
    });
    add([&](ScanCase& c) { c.dtype = dtype, c.with_D = c.with_z = c.with_bias = c.softplus = false; });
    add([&](ScanCase& c) { c.dtype = dtype, c.d_inner = 64, c.seqlen = 130; });
    for (const int64_t N : {1, 8, 16, 20, 64}) {
      add([&](ScanCase& c) {
        c.dtype = dtype, c.with_terms = true, c.with_state = N == 16, c.d_state = N, c.d_inner = 40;
      });
    }
    add([&](ScanCase& c) { c.dtype = dtype, c.with_terms = c.with_lengths = true, c.with_z = false, c.batch = 4; });
    add([&](ScanCase& c) { c.dtype = dtype, c.packed = {5, 1, 0, 33, 16, 1, 7}, c.with_state = true, c.d_inner = 40; });
    add([&](ScanCase& c) {
      c.dtype = dtype, c.packed = {1, 1, 65, 8}, c.with_state = c.shared_state = c.with_terms = true, c.d_inner = 24;
    });
    for (int off = 0; off < 4; ++off) {
      add([&](ScanCase& c) {
        c.dtype = dtype, c.with_D = off != 0, c.with_z = off != 1, c.with_bias = off != 2, c.softplus = off != 3;
      });
    }
  }
  return cases;
}

class SelectiveScanTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(SelectiveScanTest);

TEST_P(SelectiveScanTest, MatchesTheReferenceAsCloselyAsPlainTensorCodeDoes) {
  for (const auto& c : parity_cases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    const auto args = scan_inputs(c, device());
    expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)));
  }
}

TEST_P(SelectiveScanTest, IsBitwiseRepeatable) {
  const auto args =
      scan_inputs({.dtype = at::kBFloat16, .batch = 3, .seqlen = 100, .d_inner = 264, .with_state = true}, device());
  const auto first = run_scan(args);
  for (int i = 0; i < 10; ++i) expect_bitwise_equal(run_scan(args), first);
}

TEST_P(SelectiveScanTest, GradientsAskedForAloneEqualThoseOfTheFullRun) {
  for (const ScanCase& c :
       {ScanCase{.with_state = true}, ScanCase{.dtype = at::kBFloat16, .with_D = false, .with_bias = false},
        ScanCase{
            .dtype = at::kBFloat16, .d_inner = 24, .with_state = true, .with_terms = true, .packed = {9, 1, 20}}}) {
    auto args = scan_inputs(c, device());
    const auto full = run_scan(args);
    const auto leaves = scan_leaves(args);
    for (size_t alone = 0; alone < leaves.size(); ++alone) {
      auto only = scan_inputs(c, device());
      const auto copies = scan_leaves(only);
      for (size_t i = 0; i < copies.size(); ++i) at::Tensor(copies[i].tensor).set_requires_grad(i == alone);
      const auto results = run_scan(only);
      ASSERT_EQ(results.size(), 3u);
      EXPECT_EQ(results[2].name, "d" + leaves[alone].name);
      EXPECT_TRUE(at::equal(results[2].tensor, full[2 + alone].tensor)) << leaves[alone].name;
      EXPECT_TRUE(at::equal(results[0].tensor, full[0].tensor));
    }
  }
}

TEST_P(SelectiveScanTest, TakesViewsOfWiderRowsAndExpandedGradients) {
  const ScanCase c{.dtype = at::kBFloat16, .seqlen = 21, .d_inner = 48};
  const auto plain = scan_inputs(c, device());
  auto views = plain;
  const auto uz = at::cat({plain.u.detach(), plain.z->detach()}, 2);  // (batch, seqlen, 2 * d_inner)
  const auto dbc = at::cat({plain.delta.detach().slice(2, 0, 3), plain.B.detach(), plain.C.detach()},
                           2);  // (batch, seqlen, 3 + 2 * d_state)
  views.u = uz.slice(2, 0, c.d_inner).requires_grad_();
  views.z = uz.slice(2, c.d_inner).requires_grad_();
  views.B = dbc.slice(2, 3, 3 + c.d_state).requires_grad_();
  views.C = dbc.slice(2, 3 + c.d_state).requires_grad_();
  ASSERT_FALSE(views.u.is_contiguous());
  expect_bitwise_equal(run_scan(views), run_scan(plain));

  const auto [out, last_state] = selective_scan(views);
  out.sum().backward();  // an upstream gradient with strides 0
  EXPECT_TRUE(at::isfinite(views.u.grad()).all().item<bool>());
}

TEST_P(SelectiveScanTest, NeutralTermsChangeNothing) {
  const auto plain = scan_inputs({.seqlen = 40, .d_inner = 24, .with_state = true}, device());
  auto neutral = plain;
  const auto like_A = [&](double value) { return at::full_like(plain.A.detach(), value); };
  neutral.state_offset = neutral.B_bias = neutral.C_bias = like_A(0);
  neutral.B_scale = neutral.C_scale = like_A(1);
  neutral.out_offset = at::zeros_like(plain.D->detach());
  const auto expected = run_scan(plain), got = run_scan(neutral);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(relative_error(got[i].tensor, expected[i].tensor), 1e-6) << got[i].name;
  }
}

TEST_P(SelectiveScanTest, CompactStatesGiveTheSameGradients) {
  std::vector<ScanCase> cases = {
      ScanCase{.seqlen = 75, .d_inner = 24, .with_state = true},
      ScanCase{.seqlen = 75, .d_inner = 24, .with_state = true, .with_terms = true},
      ScanCase{.dtype = at::kBFloat16, .d_inner = 24, .with_state = true, .packed = {33, 1, 0, 64, 40}},
      ScanCase{.seqlen = 40, .d_inner = 13, .d_state = 5}};
  // enough for the backward by roles (kernels/selective_scan/README.md), which small cases do not get
  if (device().is_cuda()) cases.push_back({.dtype = at::kBFloat16, .batch = 4, .seqlen = 100, .d_inner = 4096});
  for (const ScanCase& c : cases) {
    SCOPED_TRACE(::testing::PrintToString(c));
    auto args = scan_inputs(c, device());
    args.compact_states = true;
    expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)));
  }
}

TEST_P(SelectiveScanTest, ChainedChunksEqualTheUnchunkedRun) {
  const ScanCase c{.seqlen = 75, .d_inner = 24, .with_state = true};
  const auto args = scan_inputs(c, device());
  const auto in_chunks = [&](const SelectiveScanArgs& a) {
    std::vector<at::Tensor> outs;
    auto state = *a.initial_state;
    int64_t begin = 0;
    for (const int64_t length : {1, 16, 30, 28}) {
      auto chunk = a;
      for (at::Tensor* t : {&chunk.u, &chunk.delta, &chunk.B, &chunk.C, &*chunk.z})
        *t = t->slice(1, begin, begin + length);
      chunk.initial_state = state;
      auto [out, last] = selective_scan(chunk);
      outs.push_back(out);
      state = last;
      begin += length;
    }
    return std::make_tuple(at::cat(outs, 1), state);
  };
  const auto truth = run_scan(in_double(args));
  expect_as_accurate(scan_results(args, in_chunks), run_scan(args), truth);
}

TEST_P(SelectiveScanTest, LargeDecaysAreExactlyZeroAndNothingOverflows) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const ScanCase c{
        .dtype = dtype, .seqlen = 40, .with_D = false, .with_z = false, .with_bias = false, .softplus = false};
    auto args = scan_inputs(c, device());
    args.A = at::full({c.d_inner, c.d_state}, -std::exp(10.0), args.A.options().requires_grad(false)).requires_grad_();
    args.delta = at::full_like(args.u.detach(), 30.0).requires_grad_();
    const auto results = run_scan(args);
    for (const auto& r : results) EXPECT_TRUE(at::isfinite(r.tensor).all().item<bool>()) << r.name;
    // Nothing of earlier steps is left: the last state is that of the last step alone.
    const auto last_u = args.u.detach().select(1, c.seqlen - 1).to(at::kFloat),
               last_B = args.B.detach().select(1, c.seqlen - 1).to(at::kFloat);
    // Rounding alone may differ: on CUDA delta of 16-bit types is kept in units of ln 2.
    const auto want = (last_u * 30.0f).unsqueeze(2) * last_B.unsqueeze(1);
    EXPECT_TRUE(at::allclose(results[1].tensor, want, /*rtol=*/5e-7, /*atol=*/0.0));
  }
}

TEST_P(SelectiveScanTest, AnInfiniteDecayIsAVeryLargeOne) {
  if (!device().is_cpu()) GTEST_SKIP() << "a promise of the CPU's kernels";
  const ScanCase c{.seqlen = 40, .with_bias = false, .softplus = false};
  const auto with_first_states_decaying_by = [&](double A) {
    auto args = scan_inputs(c, device());
    auto rates = args.A.detach().clone();
    rates.narrow(1, 0, 2).fill_(A);
    args.A = rates.requires_grad_();
    args.delta = at::full_like(args.u.detach(), 3e4).requires_grad_();
    return run_scan(args);
  };
  const auto very_large = with_first_states_decaying_by(-1e6), infinite = with_first_states_decaying_by(-INFINITY);
  for (size_t i = 0; i < infinite.size(); ++i) {
    EXPECT_TRUE(at::equal(infinite[i].tensor, very_large[i].tensor)) << infinite[i].name;
    EXPECT_TRUE(at::isfinite(infinite[i].tensor).all().item<bool>()) << infinite[i].name;
  }
}

TEST_P(SelectiveScanTest, LargeInputsOfTheActivationsStayFinite) {
  auto args = scan_inputs({.seqlen = 24}, device());
  const auto spread = at::linspace(-120, 30, args.u.numel()).view(args.u.sizes()).to(device());
  args.delta = spread.clone().requires_grad_();
  args.z = spread.mul(3).requires_grad_();
  expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)));
}

TEST_P(SelectiveScanTest, KeepsAMemoryOfThousandsOfSteps) {
  ScanCase c{
      .batch = 1, .seqlen = 8192, .d_inner = 8, .d_state = 4, .with_z = false, .with_bias = false, .softplus = false};
  auto args = scan_inputs(c, device());
  args.A =
      (-(seeded(3, {c.d_inner, c.d_state}).abs() + 0.01) * 0.01).to(device()).requires_grad_();  // decay 0.9999 a step
  args.delta = (seeded(2, {1, c.seqlen, c.d_inner}).abs() * 0.02).to(device()).requires_grad_();
  expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)), 2e-6);
}

TEST_P(SelectiveScanTest, KnowsWhetherAGradientWillBeWanted) {
  const auto args = scan_inputs({}, device());
  const auto [out, last_state] = selective_scan(args);
  EXPECT_TRUE(out.requires_grad());
  EXPECT_TRUE(last_state.requires_grad());
  at::NoGradGuard no_grad;
  EXPECT_FALSE(std::get<0>(selective_scan(args)).requires_grad());
}

TEST_P(SelectiveScanTest, TakesEmptyBatchesAndSequences) {
  for (const ScanCase& c : {ScanCase{.batch = 0, .with_state = true}, ScanCase{.seqlen = 0, .with_state = true}}) {
    const auto args = scan_inputs(c, device());
    const auto results = run_scan(args);
    for (const auto& r : results) EXPECT_TRUE(at::isfinite(r.tensor).all().item<bool>()) << r.name;
    EXPECT_TRUE(at::equal(results[1].tensor, args.initial_state->detach()));
  }
}

// --- CPU only ---

TEST(SelectiveScanReference, GradientsMatchFiniteDifferences) {
  for (const bool softplus : {true, false}) {
    const auto args = scan_inputs({.dtype = at::kDouble,
                                   .seqlen = 9,
                                   .d_inner = 3,
                                   .d_state = 4,
                                   .softplus = softplus,
                                   .with_state = true,
                                   .with_lengths = true,
                                   .with_terms = true});
    const auto weight_out = seeded(30, args.u.sizes()).to(at::kDouble);
    const auto weight_state = seeded(31, args.initial_state->sizes()).to(at::kDouble);
    expect_gradients_match_differences(scan_leaves(args), [&](const std::vector<at::Tensor>& x) {
      const auto [out, last] = selective_scan({x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], args.lengths,
                                               softplus, x[9], x[10], x[11], x[12], x[13], x[14]});
      return (out * weight_out).sum() + (last * weight_state).sum();
    });
  }
}

TEST(SelectiveScanReference, EqualsPlainTensorCodeInDouble) {
  for (const ScanCase& c :
       {ScanCase{.dtype = at::kDouble, .batch = 4, .with_state = true, .with_lengths = true},
        ScanCase{.dtype = at::kDouble, .batch = 3, .with_state = true, .shared_state = true, .with_terms = true},
        ScanCase{.dtype = at::kDouble, .with_state = true, .with_terms = true, .packed = {3, 1, 0, 20}}}) {
    SCOPED_TRACE(::testing::PrintToString(c));
    const auto args = scan_inputs(c);
    const auto ours = run_scan(args), naive = scan_results(args, naive_scan);
    for (size_t i = 0; i < ours.size(); ++i)
      EXPECT_LT(relative_error(ours[i].tensor, naive[i].tensor), 1e-12) << ours[i].name;
  }
}

TEST(SelectiveScanCpu, EveryInstructionSetMatchesTheReference) {
  for (const auto capability :
       {kernels::CpuCapability::kBaseline, kernels::CpuCapability::kAvx2, kernels::CpuCapability::kAvx512}) {
    const kernels::ScopedCpuCapability scoped(capability);
    for (const auto& [dtype, with_terms] : {std::pair{at::kFloat, false},
                                            {at::kFloat, true},
                                            {at::kBFloat16, false},
                                            {at::kBFloat16, true},
                                            {at::kHalf, false}}) {
      const auto args = scan_inputs({.dtype = dtype,
                                     .batch = 3,
                                     .seqlen = 35,
                                     .d_inner = 150,
                                     .d_state = 13,
                                     .with_state = true,
                                     .with_lengths = true,
                                     .with_terms = with_terms});
      SCOPED_TRACE(std::string(kernels::to_string(kernels::cpu_capability())) + " " + toString(dtype));
      expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)));
    }
  }
}

TEST(SelectiveScanCpu, DoesNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const auto capability :
       {kernels::CpuCapability::kBaseline, kernels::CpuCapability::kAvx2, kernels::CpuCapability::kAvx512}) {
    const kernels::ScopedCpuCapability scoped(capability);
    // A thread takes at most 256 / d_state chunks of 128 channels together: all of a row, some, one.
    for (const auto& [d_inner, d_state] : {std::pair{520, 16}, {1104, 40}, {272, 130}}) {
      SCOPED_TRACE(std::string(kernels::to_string(kernels::cpu_capability())) + " " + std::to_string(d_inner));
      const auto args =
          scan_inputs({.batch = 3, .seqlen = 70, .d_inner = d_inner, .d_state = d_state, .with_state = true});
      at::set_num_threads(1);
      const auto one = run_scan(args);
      for (const int threads : {2, 3, 7}) {
        at::set_num_threads(threads);
        expect_bitwise_equal(run_scan(args), one);
      }
    }
  }
  at::set_num_threads(before);
}

TEST(SelectiveScanCpu, RowsOfManyChunksMatchTheReference) {
  for (const auto capability :
       {kernels::CpuCapability::kBaseline, kernels::CpuCapability::kAvx2, kernels::CpuCapability::kAvx512}) {
    const kernels::ScopedCpuCapability scoped(capability);
    for (const bool with_terms : {false, true}) {  // four chunks, the last a part of one; three taken together
      const auto args = scan_inputs({.batch = 2,
                                     .seqlen = 20,
                                     .d_inner = 400,
                                     .d_state = 72,
                                     .with_state = true,
                                     .with_lengths = true,
                                     .with_terms = with_terms});
      SCOPED_TRACE(std::string(kernels::to_string(kernels::cpu_capability())) + (with_terms ? ", terms" : ""));
      expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)));
    }
  }
}

TEST(SelectiveScan, RefusesToBeDifferentiatedTwice) {
  const auto args = scan_inputs({.seqlen = 5});
  const auto out = std::get<0>(selective_scan(args));
  const auto du = torch::autograd::grad({out.sum()}, {args.u}, {}, true, /*create_graph=*/true)[0];
  try {
    du.sum().backward();
    FAIL() << "a second derivative went through";
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), HasSubstr("selective_scan"));
    EXPECT_THAT(error.what(), HasSubstr("double backward"));
  }
}

void expect_refused(const SelectiveScanArgs& args, const std::string& text) {
  try {
    selective_scan(args);
    FAIL() << "accepted: " << text;
  } catch (const c10::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(SelectiveScanCpu, KeepsStatesAtItsOwnDistanceAndNoY) {
  const auto args = scan_inputs({});
  const auto expect_refused_by_forward = [&](int64_t every, bool keep_y, const std::string& text) {
    torch::jit::Stack stack{args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias};
    for (int i = 0; i < 2; ++i) stack.emplace_back();  // initial_state, lengths
    stack.emplace_back(true);
    for (int i = 0; i < 7; ++i) stack.emplace_back();  // state_offset ... cu_seqlens
    stack.emplace_back(every);
    stack.emplace_back(keep_y);
    try {
      c10::Dispatcher::singleton().findSchemaOrThrow("mpeft::selective_scan_forward", "").callBoxed(&stack);
      FAIL() << "accepted: " << text;
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  expect_refused_by_forward(8, false, "checkpoint_every must be 0 or 16 on the CPU, got 8");
  expect_refused_by_forward(16, true, "keep_y is for CUDA");
}

TEST(SelectiveScan, NamesTheTensorThatIsWrong) {
  const auto good = scan_inputs({.with_state = true});
  auto bad = good;
  bad.delta = good.delta.to(at::kBFloat16);
  expect_refused(bad, "delta must be Float, got BFloat16");
  bad = good;
  bad.B = good.B.slice(2, 1);
  expect_refused(bad, "B must have shape [2, 37, 16], got [2, 37, 15]");
  bad = good;
  bad.A = good.A.to(at::kBFloat16);
  expect_refused(bad, "A must be Float");
  bad = good;
  bad.initial_state = at::zeros({3, 20, 16});
  expect_refused(bad, "initial_state must have shape");
  bad = good;
  bad.lengths = at::zeros({2}, at::kLong);
  expect_refused(bad, "lengths must be Int, got Long");
  bad = good;
  bad.B_scale = at::ones({16});
  expect_refused(bad, "B_scale must have shape [20, 16], got [16]");
  bad = good;
  bad.cu_seqlens = at::tensor({0, 37}, at::kInt);
  expect_refused(bad, "with cu_seqlens, u must be (1, steps of all rows, ...), got [2, 37, 20]");
  auto packed = scan_inputs({.packed = {5, 7}});
  bad = packed;
  bad.cu_seqlens = at::tensor({0, 7, 5}, at::kInt);
  expect_refused(bad, "cu_seqlens must ascend from 0 to at most 12");
  bad.cu_seqlens = at::tensor({0, 5, 13}, at::kInt);
  expect_refused(bad, "cu_seqlens must ascend from 0 to at most 12");
  bad = packed;
  bad.lengths = at::tensor({12}, at::kInt);
  expect_refused(bad, "lengths and cu_seqlens exclude each other");
  bad = good;
  bad.u = good.u[0];
  expect_refused(bad, "u must be (batch, seqlen, d_inner)");
}

}  // namespace
}  // namespace mpeft::ops::testing

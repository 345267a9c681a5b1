// Rows of different length in one call of the selective scan, padded or packed, beside the same rows alone.
#include <algorithm>

#include "kernels/selective_scan/selective_scan.h"

#include "tests/kernels/scan_cases.h"

namespace mpeft::ops::testing {
namespace {

class SelectiveScanRowsTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(SelectiveScanRowsTest);

TEST_P(SelectiveScanRowsTest, PaddedRowsEqualTheirTruncatedSelves) {
  const ScanCase c{.batch = 3, .seqlen = 40, .with_state = true};
  auto args = scan_inputs(c, device());
  args.lengths = at::tensor({0, 17, 40}, at::kInt).to(device());
  const auto [out, last_state] = selective_scan(args);
  for (int64_t row = 0; row < c.batch; ++row) {
    const int64_t length = (*args.lengths)[row].item<int64_t>();
    EXPECT_EQ(out[row].slice(0, length).abs().sum().item<double>(), 0.0);
    if (length == 0) {
      EXPECT_TRUE(at::equal(last_state[row], (*args.initial_state)[row]));
      continue;
    }
    auto one = args;
    for (at::Tensor* t : {&one.u, &one.delta, &one.B, &one.C, &*one.z})
      *t = t->slice(0, row, row + 1).slice(1, 0, length);
    one.initial_state = args.initial_state->slice(0, row, row + 1);
    one.lengths.reset();
    const auto [out_one, last_one] = selective_scan(one);
    EXPECT_TRUE(at::equal(out[row].slice(0, 0, length), out_one[0]));
    EXPECT_TRUE(at::equal(last_state[row], last_one[0]));
  }
}

/// Two 16-bit roundings of sums in different orders: what lies close to the middle of two neighbouring values may
/// become either, so no element is further off than one place in the last of 8 bits (or, where terms cancel, than 1e-4
/// of the tensor's scale), and few are off at all.
void expect_equal_but_for_rounding(const at::Tensor& a, const at::Tensor& b) {
  const auto x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  const double scale = y.square().mean().sqrt().item<double>();
  const auto allowed = at::maximum(x.abs(), y.abs()) * 0x1p-7 + 1e-4 * scale;
  EXPECT_EQ((x - y).abs().gt(allowed).sum().item<int64_t>(), 0);
  EXPECT_LE(x.ne(y).sum().item<double>(), 2 + 0.002 * static_cast<double>(x.numel()));
}

TEST_P(SelectiveScanRowsTest, PackedRowsEqualTheRowsOneByOne) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::vector<int64_t>& rows : std::vector<std::vector<int64_t>>{
             {1}, {37}, {1, 1, 1}, {0, 5, 0, 16, 1, 33, 1}, {130, 2, 1, 64, 31}, {600, 1, 40}}) {
      for (const bool terms : {false, true}) {
        const ScanCase c{.dtype = dtype, .d_inner = 72, .with_state = true, .with_terms = terms, .packed = rows};
        SCOPED_TRACE(::testing::PrintToString(c));
        const auto args = scan_inputs(c, device());
        const auto packed = run_scan(args), one_by_one = scan_results(args, looped(selective_scan));
        const auto truth = scan_results(in_double(args), selective_scan, dtype);
        ASSERT_EQ(packed.size(), one_by_one.size());
        ASSERT_EQ(packed.size(), truth.size());
        for (size_t i = 0; i < packed.size(); ++i) {
          SCOPED_TRACE(packed[i].name);
          const auto &ours = packed[i].tensor, &alone = one_by_one[i].tensor;
          const bool summed = ours.dim() < 3;  // over rows, in another order
          const bool over_channels = packed[i].name == "dB" || packed[i].name == "dC";
          // A GPU's backward cuts the time of rows of more than 48 steps by how many there are, and then adds up in
          // another order: of the 16-bit gradients some come out as their neighbours (expect_equal_but_for_rounding
          // says how many may).
          const bool is_gradient = packed[i].name != "out" && packed[i].name != "last_state";
          const bool is_cut = is_gradient && ours.is_cuda() && *std::max_element(rows.begin(), rows.end()) > 48;
          const double orders = summed || over_channels ? 1e-5 : 2e-6;
          EXPECT_LT(relative_error(ours, alone), is_cut && ours.scalar_type() == at::kBFloat16 ? 1e-4 : orders);
          if (ours.scalar_type() == at::kBFloat16) expect_equal_but_for_rounding(ours, alone);
          const double error = relative_error(ours, truth[i].tensor), theirs = relative_error(alone, truth[i].tensor);
          EXPECT_LE(error, 1.2 * theirs + 3e-7);
          EXPECT_LE(theirs, 1.2 * error + 3e-7);
        }
      }
    }
  }
}

TEST_P(SelectiveScanRowsTest, StepsBehindThePackedRowsArePadding) {
  auto args = scan_inputs({.d_inner = 24, .packed = {5, 12, 9}}, device());
  const auto whole = run_scan(args);
  args.cu_seqlens = at::tensor({0, 5, 17, 17}, at::kInt).to(device());
  const auto padded = run_scan(args);
  for (size_t i = 0; i < padded.size(); ++i) {
    if (padded[i].tensor.dim() != 3 || padded[i].name == "last_state") continue;
    EXPECT_EQ(padded[i].tensor.slice(1, 17).abs().sum().item<double>(), 0.0) << padded[i].name;
    if (padded[i].name == "out") {
      EXPECT_TRUE(at::equal(padded[i].tensor.slice(1, 0, 17), whole[i].tensor.slice(1, 0, 17)));
    }
  }
}

TEST_P(SelectiveScanRowsTest, RowsAroundTheLengthThatAGpuDoesNotCut) {
  const std::vector<int64_t> rows = {48, 300, 49, 0, 47};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool packed : {false, true}) {
      ScanCase c{.dtype = dtype, .batch = 5, .seqlen = 300, .d_inner = 72, .with_state = true};
      if (packed) c.packed = rows;
      SCOPED_TRACE(::testing::PrintToString(c));
      auto args = scan_inputs(c, device());
      if (!packed) args.lengths = at::tensor(rows, at::kInt).to(device());
      expect_as_accurate(run_scan(args), scan_results(args, naive_scan), run_scan(in_double(args)));
    }
  }
}

}  // namespace
}  // namespace mpeft::ops::testing

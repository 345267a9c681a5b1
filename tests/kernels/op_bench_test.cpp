#include "kernels/bench/op_bench.h"

#include <cmath>

#include "tests/kernels/op_test_support.h"

namespace mpeft::ops::testing {
namespace {

class OpBenchTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(OpBenchTest);

void expect_measured(const std::vector<BenchRow>& rows, const std::vector<std::string>& passes, double elements) {
  ASSERT_EQ(rows.size(), passes.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].pass, passes[i]);
    EXPECT_GT(rows[i].ms, 0.0);
    EXPECT_NEAR(rows[i].giga_elements * rows[i].ms * 1e6, elements, 1e-6 * elements);
    EXPECT_GT(rows[i].gigabytes, 0.0);
    EXPECT_LE(rows[i].percent_of_floor, 100.0);
  }
}

TEST_P(OpBenchTest, ValidatesThenMeasuresEveryPass) {
  const std::vector<BenchShape> shape{{.batch = 1, .seqlen = 20, .channels = 24, .d_state = 8}};
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    expect_measured(bench_selective_scan(device(), dtype, shape), {"inference", "forward", "backward"}, 20 * 24 * 8);
    expect_measured(bench_causal_conv1d(device(), dtype, shape), {"forward", "backward"}, 20 * 24);
    expect_measured(bench_rms_norm(device(), dtype, shape), {"forward", "backward"}, 20 * 24);
    expect_measured(bench_cross_entropy(device(), dtype, shape), {"inference", "in place"}, 20 * 24);
  }
}

}  // namespace
}  // namespace mpeft::ops::testing

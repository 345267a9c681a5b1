#include "kernels/decode_step/decode_step.h"

#include <gmock/gmock.h>

#include "kernels/rms_norm/rms_norm.h"

#include "tests/kernels/op_test_support.h"

namespace mpeft::ops::testing {
namespace {

using ::testing::HasSubstr;
using OptionalTensor = std::optional<at::Tensor>;

struct LayerCase {
  at::ScalarType dtype = at::kFloat;
  int64_t rows = 5, d_model = 96, d_inner = 160, d_state = 16, dt_rank = 8, width = 4;
  bool with_parents = true, with_bias = true, with_delta = false;
};

std::ostream& operator<<(std::ostream& out, const LayerCase& c) {
  return out << toString(c.dtype) << " rows " << c.rows << " d_model " << c.d_model << " d_inner " << c.d_inner
             << " d_state " << c.d_state << " dt_rank " << c.dt_rank << " width " << c.width
             << (c.with_parents ? " parents" : "") << (c.with_bias ? " bias" : "") << (c.with_delta ? " delta" : "");
}

/// The weights and the input of one layer's step, and the states before it.
struct LayerArgs {
  at::Tensor x, in_proj, conv_weight, x_proj, dt_proj, dt_bias, A, D, out_proj, conv_state, scan_state;
  OptionalTensor conv_bias, parents;
  bool with_delta = false;
};

LayerArgs layer_inputs(const LayerCase& c, at::Device device = at::kCPU) {
  const auto acc = c.dtype == at::kDouble ? at::kDouble : at::kFloat;
  uint64_t seed = 1;
  const auto drawn = [&](at::IntArrayRef sizes, double scale, at::ScalarType dtype) {
    return (seeded(seed++, sizes) * scale).to(device, dtype);
  };
  const auto fan_in = [](int64_t n) { return 1.0 / std::sqrt(static_cast<double>(n)); };
  const int64_t state_rows = c.with_parents ? c.rows + 2 : c.rows;
  LayerArgs a;
  a.x = drawn({c.rows, c.d_model}, 1, c.dtype);
  a.in_proj = drawn({2 * c.d_inner, c.d_model}, fan_in(c.d_model), c.dtype);
  a.conv_weight = drawn({c.d_inner, c.width}, 0.5, acc);
  if (c.with_bias) a.conv_bias = drawn({c.d_inner}, 0.2, acc);
  a.x_proj = drawn({c.dt_rank + 2 * c.d_state, c.d_inner}, 2 * fan_in(c.d_inner), c.dtype);
  a.dt_proj = drawn({c.d_inner, c.dt_rank}, fan_in(c.dt_rank), c.dtype);
  a.dt_bias = drawn({c.d_inner}, 1, acc) - 2;
  a.A = -drawn({c.d_inner, c.d_state}, 1, acc).exp();
  a.D = drawn({c.d_inner}, 1, acc);
  a.out_proj = drawn({c.d_model, c.d_inner}, fan_in(c.d_inner), c.dtype);
  a.conv_state = drawn({state_rows, c.width - 1, c.d_inner}, 1, c.dtype);
  a.scan_state = drawn({state_rows, c.d_inner, c.d_state}, 1, acc);
  if (c.with_parents) {
    auto parents = at::empty({c.rows}, at::kLong);
    for (int64_t row = 0; row < c.rows; ++row) parents[row] = (row * 5 + 1) % state_rows;
    a.parents = parents.to(device);
  }
  a.with_delta = c.with_delta;
  return a;
}

std::vector<Named> run_layer(const LayerArgs& a) {
  const at::NoGradGuard no_grad;
  const int64_t rows = a.x.size(0), dt_rank = a.dt_proj.size(1);
  auto conv_out = at::full({rows, a.conv_state.size(1), a.conv_state.size(2)}, NAN, a.conv_state.options());
  auto scan_out = at::full({rows, a.scan_state.size(1), a.scan_state.size(2)}, NAN, a.scan_state.options());
  auto conv_out_alone = conv_out.clone();
  const auto [u, z] =
      decode_in_proj_conv(a.x, a.in_proj, a.conv_weight, a.conv_bias, a.conv_state, conv_out, a.parents);
  const auto xz = decode_linear(a.x, a.in_proj);
  const auto u_alone =
      decode_conv(xz.narrow(1, 0, u.size(1)), a.conv_weight, a.conv_bias, a.conv_state, conv_out_alone, a.parents);
  EXPECT_TRUE(at::equal(u, u_alone)) << "the convolution behind in_proj and alone";
  EXPECT_TRUE(at::equal(conv_out, conv_out_alone));
  const auto x_dbl = decode_linear(u, a.x_proj);
  OptionalTensor weight, delta;
  (a.with_delta ? delta : weight) = a.with_delta ? at::linear(x_dbl.narrow(1, 0, dt_rank), a.dt_proj) : a.dt_proj;
  const auto y = decode_scan(u, z, x_dbl, weight, delta, a.dt_bias, a.A, a.D, a.scan_state, scan_out, a.parents);
  return {{"u", u},
          {"z", z},
          {"conv_state", conv_out},
          {"scan_state", scan_out},
          {"y", y},
          {"out", decode_linear(y, a.out_proj)}};
}

/// Plain tensor code that rounds where the operators do.
std::vector<Named> naive_layer(const LayerArgs& a) {
  const at::NoGradGuard no_grad;
  const auto dtype = a.x.scalar_type(), acc = a.A.scalar_type();
  const int64_t d_inner = a.D.size(0), d_state = a.A.size(1), dt_rank = a.dt_proj.size(1);
  const auto before = [&](const at::Tensor& s) { return a.parents ? s.index_select(0, *a.parents) : s; };
  const auto xz = at::linear(a.x, a.in_proj);
  const auto z = xz.narrow(1, d_inner, d_inner);
  const auto window = at::cat({before(a.conv_state), xz.narrow(1, 0, d_inner).unsqueeze(1)}, 1);  // (rows, width, D)
  auto sum = (window.to(acc) * a.conv_weight.t()).sum(1);
  if (a.conv_bias) sum = sum + *a.conv_bias;
  const auto u = at::silu(sum).to(dtype);
  const auto x_dbl = at::linear(u, a.x_proj);
  const auto delta = at::softplus(at::linear(x_dbl.narrow(1, 0, dt_rank), a.dt_proj).to(acc) + a.dt_bias).unsqueeze(-1);
  const auto B = x_dbl.narrow(1, dt_rank, d_state).to(acc).unsqueeze(1);
  const auto C = x_dbl.narrow(1, dt_rank + d_state, d_state).to(acc).unsqueeze(1);
  const auto h = at::exp(delta * a.A) * before(a.scan_state) + delta * u.to(acc).unsqueeze(-1) * B;
  const auto y = (((h * C).sum(-1) + a.D * u.to(acc)) * at::silu(z.to(acc))).to(dtype);
  return {{"u", u},          {"z", z}, {"conv_state", window.narrow(1, 1, window.size(1) - 1)},
          {"scan_state", h}, {"y", y}, {"out", at::linear(y, a.out_proj)}};
}

LayerArgs in_double(const LayerArgs& a) {
  const auto twin = [](const at::Tensor& t) { return t.to(at::kCPU, at::kDouble); };
  LayerArgs d{twin(a.x), twin(a.in_proj), twin(a.conv_weight), twin(a.x_proj),     twin(a.dt_proj),    twin(a.dt_bias),
              twin(a.A), twin(a.D),       twin(a.out_proj),    twin(a.conv_state), twin(a.scan_state), {},
              a.parents, a.with_delta};
  if (a.conv_bias) d.conv_bias = twin(*a.conv_bias);
  if (a.parents) d.parents = a.parents->to(at::kCPU);
  return d;
}

class DecodeStepTest : public DeviceTest {};
MPEFT_INSTANTIATE_DEVICES(DecodeStepTest);

void expect_accurate(const LayerCase& c, at::Device device) {
  SCOPED_TRACE(::testing::PrintToString(c));
  const auto args = layer_inputs(c, device);
  expect_as_accurate(run_layer(args), naive_layer(args), naive_layer(in_double(args)));
}

TEST_P(DecodeStepTest, MatchesTheReferenceAsCloselyAsPlainTensorCodeDoes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t rows : {1, 5, 8, 9, 17, 41, 80, 129, 161})
      expect_accurate({.dtype = dtype, .rows = rows}, device());
    // many channels in all: the scan's other mapping
    expect_accurate({.dtype = dtype, .rows = 24, .d_model = 64, .d_inner = 1536, .dt_rank = 16}, device());
    expect_accurate({.dtype = dtype, .with_parents = false}, device());
    expect_accurate({.dtype = dtype, .with_bias = false, .with_delta = true}, device());
    for (const int64_t width : {2, 3}) expect_accurate({.dtype = dtype, .width = width}, device());
    for (const int64_t d_state : {8, 20, 64}) expect_accurate({.dtype = dtype, .d_state = d_state}, device());
    // sizes that no kernel's tiles divide
    expect_accurate({.dtype = dtype, .d_model = 24, .d_inner = 48, .d_state = 6, .dt_rank = 3}, device());
    expect_accurate({.dtype = dtype, .d_model = 33, .d_inner = 70, .d_state = 4, .dt_rank = 5}, device());
  }
}

TEST_P(DecodeStepTest, EqualsTheReferenceInDouble) {
  const auto args = layer_inputs({.dtype = at::kDouble});
  const auto ours = run_layer(args), naive = naive_layer(args);
  for (size_t i = 0; i < ours.size(); ++i)
    EXPECT_LT(relative_error(ours[i].tensor, naive[i].tensor), 1e-12) << ours[i].name;
}

TEST_P(DecodeStepTest, TheNormIsRmsNorm) {
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t d_model : {24, 33, 768, 5120}) {
      const auto x = seeded(1, {5, d_model}).to(device(), dtype);
      const auto weight = (seeded(2, {d_model}) * 0.3 + 1).to(device()),
                 residual = seeded(3, {5, d_model}).to(device());
      for (const bool with_residual : {false, true}) {
        const auto maybe = with_residual ? OptionalTensor(residual) : std::nullopt;
        const auto [out, sum] = decode_norm(x, maybe, weight, 1e-5);
        const auto [expected, expected_sum] = rms_norm(x, maybe, weight, 1e-5);
        EXPECT_TRUE(at::equal(sum, expected_sum));
        EXPECT_LT(relative_error(out, expected), dtype == at::kFloat ? 1e-6 : 3e-3) << d_model;
      }
    }
  }
}

TEST_P(DecodeStepTest, StatesMayBeUpdatedInPlace) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto a = layer_inputs({.dtype = dtype, .with_parents = false}, device());
    const auto apart = run_layer(a);
    auto conv = a.conv_state.clone(), scan = a.scan_state.clone();
    const auto [u, z] = decode_in_proj_conv(a.x, a.in_proj, a.conv_weight, a.conv_bias, conv, conv, {});
    const auto y = decode_scan(u, z, decode_linear(u, a.x_proj), a.dt_proj, {}, a.dt_bias, a.A, a.D, scan, scan, {});
    EXPECT_TRUE(at::equal(conv, apart[2].tensor));
    EXPECT_TRUE(at::equal(scan, apart[3].tensor));
    EXPECT_TRUE(at::equal(y, apart[4].tensor));
  }
}

TEST_P(DecodeStepTest, IsBitwiseRepeatable) {
  const auto args = layer_inputs({.dtype = at::kBFloat16, .rows = 41, .d_model = 768, .d_inner = 1536}, device());
  const auto first = run_layer(args);
  for (int i = 0; i < 10; ++i) expect_bitwise_equal(run_layer(args), first);
}

TEST(DecodeStep, NamesWhatIsWrong) {
  const auto good = layer_inputs({});
  const auto expect_refused = [](const LayerArgs& args, const std::string& text) {
    try {
      run_layer(args);
      FAIL() << "accepted: " << text;
    } catch (const c10::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  auto bad = good;
  bad.x = good.x.narrow(1, 0, 95);
  expect_refused(bad, "weight must have shape [320, 95], got [320, 96]");
  bad = good;
  bad.scan_state = good.scan_state.to(at::kDouble);
  expect_refused(bad, "scan_state must be Float, got Double");
  bad = good;
  bad.parents = good.parents->to(at::kInt);
  expect_refused(bad, "parents must be Long, got Int");
  auto state = good.conv_state.narrow(0, 0, 5);
  EXPECT_THROW(decode_in_proj_conv(good.x, good.in_proj, good.conv_weight, {}, state, state, good.parents), c10::Error);
}

TEST(DecodeStep, RefusesToBePartOfAGraph) {
  const auto x = at::randn({2, 8}).requires_grad_(), weight = at::randn({4, 8});
  EXPECT_THROW(decode_linear(x, weight), c10::Error);
  const at::NoGradGuard no_grad;
  EXPECT_EQ(decode_linear(x, weight).size(1), 4);
}

}  // namespace
}  // namespace mpeft::ops::testing

// Correctness and times of the decode step's CUDA kernels, against the fp64 reference.
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/decode_step/reference.h"
#include "kernels/rms_norm/reference.h"

#include "tests/cuda/checks.h"
#include "tests/cuda/timing.h"

namespace mpeft::cuda_check {
namespace {

using namespace kernels;

template <typename T>
std::vector<T> poisoned_download(Tensor<T>& tensor, const auto& launch) {
  tensor.array().poison();
  launch();
  MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  return tensor.array().download();
}

/// Each kernel from the reference's inputs, rounded to scalar_t, so that errors do not add up.
template <typename scalar_t>
void decode(const DecodeCase& c, DType dtype, Report& report) {
  const int64_t columns = c.dt_rank + 2 * c.d_state, state_rows = c.parents ? c.rows + 3 : c.rows, taps = c.width - 1;
  Tensor<scalar_t> x(1, c.rows, c.d_model), in_proj(1, 2 * c.d_inner, c.d_model), xz(1, c.rows, 2 * c.d_inner);
  Tensor<scalar_t> conv_state(state_rows, taps, c.d_inner), conv_out(c.rows, taps, c.d_inner);
  Tensor<scalar_t> u(1, c.rows, c.d_inner), z(1, c.rows, c.d_inner), x_dbl(1, c.rows, columns);
  Tensor<scalar_t> dt_weight(1, c.d_inner, c.dt_rank), delta(1, c.rows, c.d_inner), y(1, c.rows, c.d_inner);
  Tensor<float> conv_weight(1, c.d_inner, c.width), conv_bias(1, 1, c.d_inner), dt_bias(1, 1, c.d_inner);
  Tensor<float> A(1, c.d_inner, c.d_state), D(1, 1, c.d_inner);
  Tensor<float> state(state_rows, c.d_inner, c.d_state), state_out(c.rows, c.d_inner, c.d_state);
  std::mt19937 random(static_cast<unsigned>(c.rows * 31 + c.d_inner + c.d_state));
  for (Tensor<scalar_t>* t : {&x, &in_proj, &conv_state, &u, &x_dbl, &dt_weight, &delta}) t->fill(random);
  for (Tensor<float>* t : {&conv_weight, &conv_bias, &dt_bias, &D, &state}) t->fill(random);
  A.fill(random, -4, -0.1);
  for (Tensor<scalar_t>* t : {&x, &in_proj, &conv_state, &u, &x_dbl, &dt_weight, &delta}) t->upload();
  for (Tensor<float>* t : {&conv_weight, &conv_bias, &dt_bias, &A, &D, &state}) t->upload();
  std::vector<int64_t> parents;
  for (int64_t row = 0; row < c.rows; ++row) parents.push_back((row * 5 + 2) % state_rows);
  const DeviceArray<int64_t> parents_device(parents);

  char text[160];
  std::snprintf(text, sizeof text, "decode %s rows%d d_model%d d_inner%d N%d R%d W%d parents%d", name_of(dtype),
                (int)c.rows, (int)c.d_model, (int)c.d_inner, (int)c.d_state, (int)c.dt_rank, (int)c.width, c.parents);
  // the products cancel: their errors are those of the sums before
  const double stored = dtype == DType::kFloat16 ? 6e-4 : 4e-3;
  const auto repeats = [&](auto& tensor, const auto& launch, const char* name) {
    const auto first = poisoned_download(tensor, launch), again = poisoned_download(tensor, launch);
    report.require(std::memcmp(first.data(), again.data(), first.size() * sizeof(first[0])) == 0,
                   std::string(text) + ": " + name + " differs between two runs");
  };

  // norm
  Tensor<float> residual(1, c.rows, c.d_model), norm_weight(1, 1, c.d_model), residual_out(1, c.rows, c.d_model);
  Tensor<scalar_t> normed(1, c.rows, c.d_model);
  for (Tensor<float>* t : {&residual, &norm_weight}) {
    t->fill(random);
    t->upload();
  }
  const auto norm = [&](auto& p, auto* in, auto* through, auto* weight, auto* out, auto* sum) {
    p.rows = c.rows, p.d_model = c.d_model, p.x = in, p.weight = weight, p.out = out, p.residual_out = sum;
    if (c.bias) p.residual = through;
  };
  RmsNormFwdParams<double> nf;
  norm(nf, x.host_data(), residual.host_data(), norm_weight.host_data(), normed.host_data(), residual_out.host_data());
  rms_norm_fwd_reference(nf);
  RmsNormFwdParams<scalar_t> n;
  norm(n, x.device_data(), residual.device_data(), norm_weight.device_data(), normed.device_data(),
       residual_out.device_data());
  if (decode_norm_fits(n)) {
    residual_out.array().poison();
    repeats(
        normed, [&] { MPEFT_CUDA_REQUIRE(launch_decode_norm(n, cudaStreamPerThread)); }, "normed");
    report.compare("decode", "normed", normed, stored, text);
    report.compare("decode", "residual_out", residual_out, 1e-6, text);
  }

  // linear
  const auto linear = [&](auto& p, auto* rows, auto* weight, auto* to) {
    p.rows = c.rows, p.in_features = c.d_model, p.out_features = 2 * c.d_inner;
    p.x = rows, p.weight = weight, p.y = to;
  };
  DecodeLinearParams<double> lf;
  linear(lf, x.host_data(), in_proj.host_data(), xz.host_data());
  decode_linear_reference(lf);
  DecodeLinearParams<scalar_t> l;
  linear(l, x.device_data(), in_proj.device_data(), xz.device_data());
  const bool fits = decode_linear_fits(l);
  if (c.d_model % 32 != 0 || c.rows > kMaxDecodeRows) {
    report.require(!fits, std::string(text) + ": fits");
  } else if (c.rows <= kAlwaysDecodeRows) {  // for more rows it depends on the number of SMs
    report.require(fits, std::string(text) + ": does not fit");
  }
  if (fits) {
    repeats(
        xz, [&] { MPEFT_CUDA_REQUIRE(launch_decode_linear(l, cudaStreamPerThread)); }, "xz");
    report.compare("decode", "xz", xz, stored, text);
  }

  // convolution, behind the linear and alone
  const auto conv = [&](auto& p, auto* in, int64_t stride, auto* weight, auto* bias, auto* from, auto* to,
                        const int64_t* index, auto* result) {
    p.rows = c.rows, p.d_inner = c.d_inner, p.width = c.width;
    p.x = in, p.x_row_stride = stride, p.weight = weight, p.bias = c.bias ? bias : nullptr;
    p.state = from, p.state_out = to, p.u = result;
    if (c.parents) p.parents = index;
  };
  for (double& value : xz.values()) {  // stored before it is convolved
    scalar_t rounded;
    from_double(value, rounded);
    value = to_double(rounded);
  }
  std::vector<double> u_before = u.values();
  DecodeConvParams<double> cf;
  conv(cf, static_cast<const double*>(xz.host_data()), 2 * c.d_inner, conv_weight.host_data(), conv_bias.host_data(),
       static_cast<const double*>(conv_state.host_data()), conv_out.host_data(), parents.data(), u.host_data());
  decode_conv_reference(cf);
  xz.upload();
  Tensor<scalar_t> u_out(1, c.rows, c.d_inner);
  u_out.values() = u.values();
  DecodeConvParams<scalar_t> cd;
  conv(cd, static_cast<const scalar_t*>(xz.device_data()), 2 * c.d_inner, conv_weight.device_data(),
       conv_bias.device_data(), static_cast<const scalar_t*>(conv_state.device_data()), conv_out.device_data(),
       parents_device.data(), u_out.device_data());
  repeats(
      u_out, [&] { MPEFT_CUDA_REQUIRE(launch_decode_conv(cd, cudaStreamPerThread)); }, "u");
  report.compare("decode", "u", u_out, stored, text);
  report.compare("decode", "conv_state", conv_out, 0, text);
  if (fits && c.d_inner % 16 == 0) {
    for (int64_t row = 0; row < c.rows; ++row) {
      for (int64_t i = 0; i < c.d_inner; ++i) z.at(0, row, i) = xz.at(0, row, c.d_inner + i);
    }
    conv_out.array().poison();
    z.array().poison();
    repeats(
        u_out, [&] { MPEFT_CUDA_REQUIRE(launch_decode_in_proj_conv(l, cd, z.device_data(), cudaStreamPerThread)); },
        "u behind in_proj");
    // x rounds otherwise where the order of the sum differs from the reference's: one unit in its last place
    report.compare("decode", "u behind in_proj", u_out, 2 * stored, text);
    report.compare("decode", "conv_state behind in_proj", conv_out, stored, text);
    report.compare("decode", "z", z, stored, text);
  }

  // scan
  u.values() = u_before;
  z.fill(random);
  z.upload();
  for (const bool with_delta : {false, true}) {
    const auto scan = [&](auto& p, auto* us, auto* zs, auto* dbl, auto* weight, auto* d, auto* bias, auto* a,
                          auto* skip, auto* from, auto* to, const int64_t* index, auto* result) {
      p.rows = c.rows, p.d_inner = c.d_inner, p.d_state = c.d_state, p.dt_rank = c.dt_rank;
      p.state_rows = state_rows;
      p.u = us, p.z = zs, p.z_row_stride = c.d_inner, p.x_dbl = dbl;
      (with_delta ? p.delta : p.dt_weight) = with_delta ? d : weight;
      p.dt_bias = bias, p.A = a, p.D = skip, p.state = from, p.state_out = to, p.y = result;
      if (c.parents) p.parents = index;
    };
    // delta of the reference is rounded as it is stored: computed here, given to both where the case says so
    if (!with_delta) {
      for (int64_t row = 0; row < c.rows; ++row) {
        for (int64_t i = 0; i < c.d_inner; ++i) {
          double sum = 0;
          for (int64_t j = 0; j < c.dt_rank; ++j) sum += x_dbl.at(0, row, j) * dt_weight.at(0, i, j);
          scalar_t rounded;
          from_double(sum, rounded);
          delta.at(0, row, i) = to_double(rounded);
        }
      }
    }
    DecodeScanParams<double> sf;
    scan(sf, u.host_data(), z.host_data(), x_dbl.host_data(), static_cast<const double*>(nullptr), delta.host_data(),
         dt_bias.host_data(), A.host_data(), D.host_data(), state.host_data(), state_out.host_data(), parents.data(),
         y.host_data());
    sf.dt_weight = nullptr, sf.delta = delta.host_data();
    decode_scan_reference(sf);
    if (with_delta) delta.upload();
    DecodeScanParams<scalar_t> sd;
    scan(sd, u.device_data(), z.device_data(), x_dbl.device_data(),
         static_cast<const scalar_t*>(dt_weight.device_data()), static_cast<const scalar_t*>(delta.device_data()),
         dt_bias.device_data(), A.device_data(), D.device_data(), state.device_data(), state_out.device_data(),
         parents_device.data(), y.device_data());
    state_out.array().poison();
    repeats(
        y, [&] { MPEFT_CUDA_REQUIRE(launch_decode_scan(sd, cudaStreamPerThread)); }, "y");
    report.compare("decode", with_delta ? "y, delta given" : "y", y, stored, text);
    report.compare("decode", with_delta ? "scan_state, delta given" : "scan_state", state_out,
                   with_delta ? 3e-6 : stored, text);
  }
}

/// One layer as a model calls it; weights of `kLayers` layers in turn, so that none is found in the cache.
void time_layer(int64_t rows, int64_t d_model, int64_t dt_rank) {
  using scalar_t = __nv_bfloat16;
  constexpr int kLayers = 24;
  const int64_t d_inner = 2 * d_model, d_state = 16, columns = dt_rank + 2 * d_state, width = 4;
  DecodeLinearParams<scalar_t> largest;
  largest.rows = rows, largest.in_features = d_model, largest.out_features = 2 * d_inner;
  if (!decode_linear_fits(largest)) {
    std::printf("decode %3d rows, d_model %4d: in_proj is the library's here\n", (int)rows, (int)d_model);
    return;
  }
  auto hidden = drawn<scalar_t>(rows * d_model), in_proj = drawn<scalar_t>(kLayers * 2 * d_inner * d_model, -.03, .03);
  auto x_proj = drawn<scalar_t>(kLayers * columns * d_inner, -.02, .02);
  auto dt_proj = drawn<scalar_t>(kLayers * d_inner * dt_rank, -.1, .1);
  auto out_proj = drawn<scalar_t>(kLayers * d_model * d_inner, -.02, .02);
  auto norm_weight = drawn<float>(d_model), conv_weight = drawn<float>(d_inner * width), bias = drawn<float>(d_inner);
  auto A = drawn<float>(d_inner * d_state, -4, -.1), residual = drawn<float>(rows * d_model);
  auto conv_state = drawn<scalar_t>(kLayers * rows * (width - 1) * d_inner);
  auto state = drawn<float>(kLayers * rows * d_inner * d_state);
  DeviceArray<scalar_t> conv_state_out(conv_state.size());  // as a session has them: two buffers that take turns
  DeviceArray<float> state_out(state.size());
  DeviceArray<scalar_t> normed(static_cast<size_t>(rows * d_model)), u(static_cast<size_t>(rows * d_inner));
  DeviceArray<scalar_t> z(u.size()), y(u.size()), x_dbl(static_cast<size_t>(rows * columns));
  DeviceArray<int64_t> parents([&] {
    std::vector<int64_t> p;
    for (int64_t i = 0; i < rows; ++i) p.push_back(i);
    return p;
  }());
  int only = -1;
  const auto layer = [&](cudaStream_t stream, int i) {
    const auto part = [&](int k) { return only < 0 || only == k; };
    RmsNormFwdParams<scalar_t> n;
    n.rows = rows, n.d_model = d_model, n.x = hidden.data(), n.residual = residual.data();
    n.weight = norm_weight.data(), n.out = normed.data(), n.residual_out = residual.data();
    if (part(0)) MPEFT_CUDA_REQUIRE(launch_decode_norm(n, stream));
    DecodeLinearParams<scalar_t> in;
    in.rows = rows, in.in_features = d_model, in.out_features = 2 * d_inner;
    in.x = normed.data(), in.weight = in_proj.data() + i * 2 * d_inner * d_model;
    DecodeConvParams<scalar_t> conv;
    conv.rows = rows, conv.d_inner = d_inner, conv.width = width, conv.weight = conv_weight.data();
    conv.bias = bias.data(), conv.u = u.data();
    conv.state = conv_state.data() + i * rows * (width - 1) * d_inner;
    conv.state_out = conv_state_out.data() + i * rows * (width - 1) * d_inner;
    conv.parents = parents.data();
    if (part(1)) MPEFT_CUDA_REQUIRE(launch_decode_in_proj_conv(in, conv, z.data(), stream));
    DecodeLinearParams<scalar_t> xp;
    xp.rows = rows, xp.in_features = d_inner, xp.out_features = columns, xp.x = u.data(), xp.y = x_dbl.data();
    xp.weight = x_proj.data() + i * columns * d_inner;
    if (part(2)) MPEFT_CUDA_REQUIRE(launch_decode_linear(xp, stream));
    DecodeScanParams<scalar_t> s;
    s.rows = rows, s.d_inner = d_inner, s.d_state = d_state, s.dt_rank = dt_rank, s.u = u.data(), s.z = z.data();
    s.z_row_stride = d_inner, s.x_dbl = x_dbl.data(), s.dt_weight = dt_proj.data() + i * d_inner * dt_rank;
    s.dt_bias = bias.data(), s.A = A.data(), s.D = bias.data(), s.y = y.data();
    s.state = state.data() + i * rows * d_inner * d_state;
    s.state_out = state_out.data() + i * rows * d_inner * d_state;
    s.state_rows = rows, s.parents = parents.data();
    if (part(3)) MPEFT_CUDA_REQUIRE(launch_decode_scan(s, stream));
    DecodeLinearParams<scalar_t> out;
    out.rows = rows, out.in_features = d_inner, out.out_features = d_model, out.x = y.data(), out.y = hidden.data();
    out.weight = out_proj.data() + i * d_model * d_inner;
    if (part(4)) MPEFT_CUDA_REQUIRE(launch_decode_linear(out, stream));
  };
  const auto graph_us = [&] { return graph_ms(layer, kLayers) * 1e3; };  // of a layer
  const double bytes = 2. * (3. * d_inner * d_model + columns * d_inner + d_inner * dt_rank) +
                       8. * rows * d_inner * d_state + 4. * rows * (width - 1) * d_inner;
  const double whole = graph_us();
  std::printf("decode %3d rows, d_model %4d: %.2f us a layer in a graph of %d, %.0f GB/s of weights and states;",
              (int)rows, (int)d_model, whole, kLayers, bytes * 1e-3 / whole);
  const char* names[] = {"norm", "in_proj+conv", "x_proj", "scan", "out_proj"};
  for (only = 0; only < 5; ++only) std::printf(" %s %.2f", names[only], graph_us());
  std::printf("\n");
}

}  // namespace

void check_decode(const DecodeCase& c, DType dtype, Report& report) {
  Report::dtype = name_of(dtype);
  if (dtype == DType::kBFloat16) return decode<__nv_bfloat16>(c, dtype, report);
  decode<__half>(c, dtype, report);
}

std::vector<DecodeCase> decode_cases(bool all) {
  std::vector<DecodeCase> cases{{5, 64, 128}, {17, 96, 64}, {3, 33, 40, 20, 5, 3}};
  // wide products, the second with tails of all kinds; the scan for many rows
  for (const DecodeCase& c : {DecodeCase{70, 160, 272}, {90, 96, 1104, 4, 3, 3}, {13, 64, 2528, 16, 16}})
    cases.push_back(c);
  if (!all) return cases;
  for (const int64_t rows : {1, 2, 7, 8, 9, 16, 20, 40, 41, 64, 80, 100, 128, 129}) {
    for (const bool parents : {false, true}) cases.push_back({rows, 160, 192, 16, 8, 4, parents, parents});
  }
  for (const int64_t d_state : {4, 8, 16, 32, 20, 64}) cases.push_back({5, 128, 144, d_state, 12, 4, true, true});
  for (const int64_t dt_rank : {1, 3, 8, 48}) cases.push_back({5, 128, 144, 16, dt_rank, 4, true, true});
  for (const int64_t width : {2, 3, 4}) cases.push_back({6, 128, 48, 16, 8, width, true, width == 3});
  for (const int64_t rows : {9, 41, 100, 160}) {  // every tile of the products, on 132 SMs
    for (const int64_t d_inner : {272, 1536}) cases.push_back({rows, 768, d_inner, 16, 48, 4, rows != 41, rows != 100});
  }
  cases.push_back({20, 64, 2304});
  for (const int64_t dt_rank : {8, 16, 48, 160}) cases.push_back({13, 64, 2528, 16, dt_rank, 4, dt_rank != 48, true});
  for (const int64_t d_inner : {7, 24, 72, 1536}) cases.push_back({5, 768, d_inner, 16, 48, 4, true, true});
  return cases;
}

void time_decode() {
  for (const int64_t rows : {1, 5, 16, 40, 80, 160}) time_layer(rows, 768, 48);
  for (const int64_t rows : {5, 80}) time_layer(rows, 2048, 128);
}

}  // namespace mpeft::cuda_check

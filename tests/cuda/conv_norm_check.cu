// Correctness of causal_conv1d's and rms_norm's CUDA kernels against the fp64 references.
#include <memory>
#include <string>
#include <vector>

#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/causal_conv1d/reference.h"
#include "kernels/common/cuda_launch.cuh"
#include "kernels/rms_norm/reference.h"
#include "kernels/rms_norm/rms_norm_launch.h"

#include "tests/cuda/checks.h"
#include "tests/cuda/replay.h"

namespace mpeft::cuda_check {
namespace {

using namespace kernels;

/// Compiled for the architectures that all kernels are compiled for.
__global__ void architecture_probe() {}

double stored_tolerance(DType dtype) {
  return dtype == DType::kFloat32 ? 2e-6 : dtype == DType::kFloat16 ? 5e-4 : 3e-3;
}
double sums_tolerance(DType dtype) { return dtype == DType::kFloat32 ? 5e-6 : dtype == DType::kFloat16 ? 1e-4 : 1e-3; }

/// Whether an array on the device holds the bits that were downloaded before.
bool same_memory(const auto& before, const auto& array) {
  const auto now = array.download();
  return std::memcmp(before.data(), now.data(), now.size() * sizeof(now[0])) == 0;
}

/// The bits of a tensor on the device.
template <typename T>
std::string bits(Tensor<T>& tensor) {
  const auto values = tensor.array().download();
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0])};
}

template <typename T>
bool repeats(Tensor<T>& tensor, const auto& launch) {
  const auto before = tensor.array().download();
  launch();
  return same_memory(before, tensor.array());
}

template <typename scalar_t>
void conv(const ConvCase& c, DType dtype, Report& report) {
  const int64_t pad = c.misaligned ? 1 : 0, pitch = c.strided ? 2 * c.d_inner : 0;
  const int64_t rows = c.packed > 0 ? c.packed : c.batch;
  Tensor<scalar_t> x(c.batch, c.seqlen, c.d_inner, pitch, pad), dout(c.batch, c.seqlen, c.d_inner);
  Tensor<scalar_t> state(c.initial_state == 2 ? rows : 1, c.width - 1, c.d_inner);
  Tensor<float> weight(1, c.d_inner, c.width), bias(1, 1, c.d_inner);
  Tensor<scalar_t> out(c.batch, c.seqlen, c.d_inner), last(rows, c.width - 1, c.d_inner);
  Tensor<scalar_t> dx(c.batch, c.seqlen, c.d_inner, pitch, pad);
  Tensor<float> dweight(1, c.d_inner, c.width), dbias(1, 1, c.d_inner), dstate(rows, c.width - 1, c.d_inner);
  std::mt19937 random(static_cast<unsigned>(c.seqlen * 31 + c.d_inner + c.width));
  std::vector<int32_t> lengths;
  for (int64_t b = 0; c.lengths && b < c.batch; ++b) {
    lengths.push_back(static_cast<int32_t>(b == 0 ? c.seqlen : (b * 977) % (c.seqlen + 1)));
  }
  const std::vector<int32_t> starts = packed_starts(c.packed, c.seqlen);
  const DeviceArray<int32_t> lengths_device(lengths), starts_device(starts);
  for (Tensor<scalar_t>* t : {&x, &dout, &state}) {
    t->fill(random);
    if (t != &state) t->poison_padding(c.packed > 0 ? std::vector<int32_t>{starts.back()} : lengths);
    t->upload();
  }
  for (Tensor<float>* t : {&weight, &bias}) {
    t->fill(random);
    t->upload();
  }
  auto inputs = [&](auto& p, auto x_sequence, auto* w, auto* b, auto* s, const int32_t* l, const int32_t* cu) {
    p.batch = rows, p.seqlen = c.seqlen, p.d_inner = c.d_inner, p.width = c.width, p.silu = c.silu;
    p.x = x_sequence, p.weight = w;
    if (c.bias) p.bias = b;
    if (c.initial_state) p.initial_state = s;
    p.initial_state_batch_stride = c.initial_state == 2 ? (c.width - 1) * c.d_inner : 0;
    if (c.lengths) p.lengths = l;
    if (c.packed > 0) p.cu_seqlens = cu;
  };
  auto device_inputs = [&](auto& p) {
    inputs(p, x.template device<const scalar_t>(), weight.device_data(), bias.device_data(), state.device_data(),
           lengths_device.data(), starts_device.data());
  };
  auto host_inputs = [&](auto& p) {
    inputs(p, x.template host<const double>(), weight.host_data(), bias.host_data(), state.host_data(), lengths.data(),
           starts.data());
  };
  auto launch_forward = [&](cudaStream_t stream) {
    CausalConv1dFwdParams<scalar_t> p;
    device_inputs(p);
    p.out = out.device_data(), p.last_state = last.device_data();
    MPEFT_CUDA_REQUIRE(launch_causal_conv1d_fwd(p, stream));
  };
  CausalConv1dBwdParams<scalar_t> b;
  device_inputs(b);
  b.dout = dout.template device<const scalar_t>(), b.dx = dx.device();
  if (c.sums) b.dweight = dweight.device_data();
  if (c.sums && c.bias) b.dbias = dbias.device_data();
  if (c.initial_state) b.dinitial_state = dstate.device_data();
  DeviceArray<char> workspace(static_cast<size_t>(causal_conv1d_bwd_workspace_bytes(b)));
  auto poison = [&] {
    for (Tensor<scalar_t>* t : {&out, &last, &dx}) t->array().poison();
    for (Tensor<float>* t : {&dweight, &dbias, &dstate}) t->array().poison();
    workspace.poison();
  };
  auto launch = [&](cudaStream_t stream) {
    launch_forward(stream);
    MPEFT_CUDA_REQUIRE(launch_causal_conv1d_bwd(b, workspace.data(), stream));
  };
  CausalConv1dFwdParams<double> f;
  host_inputs(f);
  f.out = out.host_data(), f.last_state = last.host_data();
  causal_conv1d_fwd_reference(f);
  CausalConv1dBwdParams<double> g;
  host_inputs(g);
  g.dout = dout.template host<const double>(), g.dx = dx.host();
  g.dweight = dweight.host_data(), g.dbias = dbias.host_data(), g.dinitial_state = dstate.host_data();
  causal_conv1d_bwd_reference(g);

  char text[180];
  std::snprintf(text, sizeof text, "conv %s B%d L%d D%d W%d silu%d bias%d h0%d len%d st%d mis%d sums%d packed%d",
                name_of(dtype), (int)c.batch, (int)c.seqlen, (int)c.d_inner, (int)c.width, c.silu, c.bias,
                c.initial_state, c.lengths, c.strided, c.misaligned, c.sums, c.packed);
  const double stored = stored_tolerance(dtype), sums = sums_tolerance(dtype);
  auto run = [&] {
    poison();
    launch(cudaStreamPerThread);
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  };
  run();
  report.compare("conv", "out", out, stored, text);
  report.compare("conv", "last_state", last, 0, text);
  report.compare("conv", "dx", dx, stored, text);
  if (c.sums) report.compare("conv", "dweight", dweight, sums, text);
  if (c.sums && c.bias) report.compare("conv", "dbias", dbias, sums, text);
  if (c.initial_state) report.compare("conv", "dinitial_state", dstate, sums, text);
  const bool in_clusters = compiled_architecture(architecture_probe) >= 900;
  if (c.launches != ConvCase::kAny && workspace.size() > 0 && in_clusters) {
    const std::vector<char> left = workspace.download();
    const bool alone = std::all_of(left.begin(), left.end(), [](char byte) { return byte == char(0xff); });
    report.require(alone == (c.launches == ConvCase::kOne),
                   std::string(text) + (alone ? ": was one launch" : ": was more than one launch"));
  }
  auto results = [&] { return std::vector{bits(out), bits(last), bits(dx), bits(dweight), bits(dbias), bits(dstate)}; };
  const auto first = results();
  auto expect_again = [&](const char* otherwise) {
    static constexpr const char* kNames[] = {"out", "last_state", "dx", "dweight", "dbias", "dinitial_state"};
    const auto again = results();
    for (size_t i = 0; i < again.size(); ++i) {
      report.require(again[i] == first[i], std::string(text) + ", " + kNames[i] + ": " + otherwise);
    }
  };
  for (int i = 0; i < c.repeats; ++i) {
    run();
    expect_again("differs between two runs");
  }
  if (c.repeats == 1) return;
  Replay replay(launch);
  for (int i = 0; i < 3; ++i) {
    poison();
    replay.run();
    expect_again("a graph's replay differs from the launches");
  }
}

template <typename scalar_t>
void norm(const NormCase& c, DType dtype, Report& report) {
  const int64_t pad = c.misaligned ? 1 : 0;
  Tensor<scalar_t> x(1, c.rows, c.d_model, 0, pad), dout(1, c.rows, c.d_model), out(1, c.rows, c.d_model, 0, pad);
  Tensor<scalar_t> dx(1, c.rows, c.d_model);
  Tensor<float> residual(1, c.rows, c.d_model), weight(1, 1, c.d_model), residual_out(1, c.rows, c.d_model);
  Tensor<float> rstd(1, 1, c.rows), dresidual_out(1, c.rows, c.d_model), dresidual(1, c.rows, c.d_model);
  Tensor<float> dweight(1, 1, c.d_model);
  std::mt19937 random(static_cast<unsigned>(c.rows * 31 + c.d_model));
  for (Tensor<scalar_t>* t : {&x, &dout}) {
    t->fill(random);
    t->upload();
  }
  for (Tensor<float>* t : {&residual, &weight, &dresidual_out}) {
    t->fill(random);
    t->upload();
  }
  RmsNormFwdParams<double> f;
  f.rows = c.rows, f.d_model = c.d_model, f.x = x.host_data(), f.weight = weight.host_data();
  if (c.residual) f.residual = residual.host_data();
  f.out = out.host_data(), f.residual_out = residual_out.host_data(), f.rstd = rstd.host_data();
  rms_norm_fwd_reference(f);
  RmsNormBwdParams<double> g;
  g.rows = c.rows, g.d_model = c.d_model, g.dout = dout.host_data(), g.residual_out = residual_out.host_data();
  if (c.dresidual_out) g.dresidual_out = dresidual_out.host_data();
  g.weight = weight.host_data(), g.rstd = rstd.host_data();
  g.dx = dx.host_data(), g.dresidual = dresidual.host_data(), g.dweight = dweight.host_data();
  rms_norm_bwd_reference(g);

  auto forward = [&] {
    RmsNormFwdParams<scalar_t> p;
    p.rows = c.rows, p.d_model = c.d_model, p.x = x.device_data(), p.weight = weight.device_data();
    if (c.residual) p.residual = residual.device_data();
    p.out = out.device_data(), p.residual_out = residual_out.device_data(), p.rstd = rstd.device_data();
    out.array().poison();
    MPEFT_CUDA_REQUIRE(launch_rms_norm_fwd(p, cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  };
  RmsNormBwdParams<scalar_t> b;
  b.rows = c.rows, b.d_model = c.d_model, b.dout = dout.device_data(), b.residual_out = residual_out.device_data();
  if (c.dresidual_out) b.dresidual_out = dresidual_out.device_data();
  b.weight = weight.device_data(), b.rstd = rstd.device_data();
  if (c.dx) b.dx = dx.device_data();
  if (c.dresidual) b.dresidual = dresidual.device_data();
  if (c.dweight) b.dweight = dweight.device_data();
  DeviceArray<char> workspace(static_cast<size_t>(rms_norm_bwd_workspace_bytes(b)));
  auto poison_gradients = [&] {
    dx.array().poison();
    for (Tensor<float>* t : {&dresidual, &dweight}) t->array().poison();
    workspace.poison();
  };
  auto backward = [&] {
    poison_gradients();
    MPEFT_CUDA_REQUIRE(launch_rms_norm_bwd(b, workspace.data(), cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  };
  char text[160];
  std::snprintf(text, sizeof text, "norm %s rows%d d%d residual%d dresidual_out%d dx%d dresidual%d dweight%d mis%d",
                name_of(dtype), (int)c.rows, (int)c.d_model, c.residual, c.dresidual_out, c.dx, c.dresidual, c.dweight,
                c.misaligned);
  const double stored = stored_tolerance(dtype);
  forward();
  report.compare("norm", "out", out, stored, text);
  report.compare("norm", "residual_out", residual_out, 1e-6, text);
  report.compare("norm", "rstd", rstd, 1e-6, text);
  report.require(repeats(out, forward), std::string(text) + ": out differs between two runs");
  backward();
  if (c.dx) report.compare("norm", "dx", dx, stored, text);
  if (c.dresidual) report.compare("norm", "dresidual", dresidual, 2e-6, text);
  if (c.dweight) report.compare("norm", "dweight", dweight, 5e-6, text);
  auto same_bits = [&](const auto& run, const char* what) {
    const auto dx_before = dx.array().download();
    const auto dresidual_before = dresidual.array().download(), dweight_before = dweight.array().download();
    for (int i = 0; i < c.repeats; ++i) {
      run();
      report.require(same_memory(dx_before, dx.array()), std::string(text) + ": dx differs, " + what);
      report.require(same_memory(dresidual_before, dresidual.array()),
                     std::string(text) + ": dresidual differs, " + what);
      report.require(same_memory(dweight_before, dweight.array()), std::string(text) + ": dweight differs, " + what);
    }
  };
  same_bits(backward, "runs");
  if (c.dweight && (c.dx || c.dresidual)) {  // another kernel, which must add up a row in the same order
    const auto dx_before = dx.array().download();
    const auto dresidual_before = dresidual.array().download();
    b.dweight = nullptr;
    backward();
    b.dweight = dweight.device_data();
    report.require(same_memory(dx_before, dx.array()), std::string(text) + ": dx differs without dweight");
    report.require(same_memory(dresidual_before, dresidual.array()),
                   std::string(text) + ": dresidual differs without dweight");
    backward();
  }
  if (c.repeats == 1) return;
  Replay replay([&](cudaStream_t stream) { MPEFT_CUDA_REQUIRE(launch_rms_norm_bwd(b, workspace.data(), stream)); });
  same_bits(
      [&] {
        poison_gradients();
        replay.run();
      },
      "replays of a graph");
}

}  // namespace

std::vector<ConvCase> conv_cases() {
  std::vector<ConvCase> cases;
  int conv = 0;
  for (const int64_t width : {2, 3, 4}) {
    for (const int64_t seqlen : {1, 2, 16, 37, 65, 600}) {
      for (const int64_t d_inner : {7, 8, 24, 1544}) {
        ConvCase c;
        c.width = width, c.seqlen = seqlen, c.d_inner = d_inner, c.batch = 1 + conv % 4;
        c.silu = conv % 3 != 0, c.bias = conv % 4 != 1, c.initial_state = conv % 3, c.lengths = conv % 2 == 1;
        c.strided = conv % 2 == 0, c.misaligned = conv % 5 == 3, c.sums = conv % 7 != 6;
        ++conv;
        cases.push_back(c);
        c.batch = 1, c.lengths = false, c.packed = 1 + conv % 11;
        cases.push_back(c);
      }
    }
  }
  for (const int64_t width : {2, 3, 4}) {
    for (const int64_t seqlen : {1, 2, 16, 37, 65}) {  // too many rows for one cluster
      ConvCase c;
      c.width = width, c.seqlen = seqlen, c.d_inner = 24, c.batch = 9, c.initial_state = conv % 3;
      c.lengths = conv % 2 == 1, c.sums = conv % 7 != 6, c.launches = ConvCase::kSeveral;
      ++conv;
      cases.push_back(c);
    }
    for (const int64_t seqlen : {1, 40, 300, 420}) {  // clusters of 1, 5 and 7 blocks
      ConvCase c;
      c.width = width, c.seqlen = seqlen, c.d_inner = 24, c.batch = 1, c.initial_state = conv++ % 3;
      c.launches = ConvCase::kOne;
      cases.push_back(c);
    }
  }
  for (const int64_t width : {2, 3, 4}) {  // elements enough for the wider of the forward's two vectors
    ConvCase c;
    c.width = width, c.seqlen = 531, c.d_inner = 4128, c.batch = 1, c.packed = 5, c.initial_state = 2;
    cases.push_back(c);
    c.packed = 0, c.batch = 3, c.lengths = true, c.strided = width != 3, c.bias = width != 2, c.silu = width != 3;
    cases.push_back(c);
  }
  return cases;
}

void check_conv(const ConvCase& c, DType dtype, Report& report) {
  Report::dtype = name_of(dtype);
  switch (dtype) {
    case DType::kBFloat16:
      conv<__nv_bfloat16>(c, dtype, report);
      break;
    case DType::kFloat16:
      conv<__half>(c, dtype, report);
      break;
    case DType::kFloat32:
      conv<float>(c, dtype, report);
      break;
  }
}

void check_norm(const NormCase& c, DType dtype, Report& report) {
  Report::dtype = name_of(dtype);
  switch (dtype) {
    case DType::kBFloat16:
      norm<__nv_bfloat16>(c, dtype, report);
      break;
    case DType::kFloat16:
      norm<__half>(c, dtype, report);
      break;
    case DType::kFloat32:
      norm<float>(c, dtype, report);
      break;
  }
}

}  // namespace mpeft::cuda_check

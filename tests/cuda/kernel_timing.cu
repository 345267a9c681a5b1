// Times of the kernels at the shapes of published models, bf16: medians of CUDA-event timings.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/rms_norm/rms_norm_launch.h"
#include "kernels/selective_scan/selective_scan_launch.h"

#include "tests/cuda/checks.h"
#include "tests/cuda/timing.h"

namespace mpeft::cuda_check {

namespace {

__global__ void wait_kernel(int64_t cycles) {
  for (const int64_t start = clock64(); clock64() - start < cycles;) {
  }
}

/// Median of the milliseconds between two events, before the first of which the device is kept busy for wait_cycles (0:
/// not at all). Less than 0: the device was done with that before all was queued.
double median_between_events(int64_t wait_cycles, const std::function<void()>& launch) {
  cudaEvent_t start, stop;
  MPEFT_CUDA_REQUIRE(cudaEventCreate(&start));
  MPEFT_CUDA_REQUIRE(cudaEventCreate(&stop));
  const auto end_of_warming = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  do {  // an idle device runs at a low clock
    launch();
    MPEFT_CUDA_REQUIRE(cudaDeviceSynchronize());
  } while (std::chrono::steady_clock::now() < end_of_warming);
  std::vector<float> times;
  bool all_queued = true;
  for (int i = 0; i < 28; ++i) {
    if (wait_cycles > 0) {
      wait_kernel<<<1, 32>>>(wait_cycles);
      MPEFT_CUDA_REQUIRE(cudaGetLastError());
    }
    MPEFT_CUDA_REQUIRE(cudaEventRecord(start));
    launch();
    MPEFT_CUDA_REQUIRE(cudaEventRecord(stop));
    if (wait_cycles > 0) {
      all_queued = all_queued && cudaEventQuery(start) == cudaErrorNotReady;
      cudaGetLastError();  // that an event is still to come is no error
    }
    MPEFT_CUDA_REQUIRE(cudaEventSynchronize(stop));
    float ms = 0;
    MPEFT_CUDA_REQUIRE(cudaEventElapsedTime(&ms, start, stop));
    if (i >= 3) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return all_queued ? times[times.size() / 2] : -1;
}

}  // namespace

double median_ms(const std::function<void()>& launch) { return median_between_events(0, launch); }

double fed_ms(const std::function<void()>& launch) {
  // The multiprocessor that waits keeps as much shared memory as the kernels of the scan want: dividing its cache anew
  // would let it start late.
  MPEFT_CUDA_REQUIRE(cudaFuncSetAttribute(wait_kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                          cudaSharedmemCarveoutMaxShared));
  constexpr int64_t kFirst = 200'000, kLast = 64 * kFirst;  // 0.1 to 6 ms; four launches and two events take 0.03
  for (int64_t cycles = kFirst; cycles <= kLast; cycles *= 4) {
    if (const double ms = median_between_events(cycles, launch); ms >= 0) return ms;
  }
  std::fprintf(stderr, "the processor needs more than 6 ms for a launch: no time of a fed stream\n");
  std::exit(1);
}

double graph_ms(const std::function<void(cudaStream_t, int)>& launch, int repeats) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  MPEFT_CUDA_REQUIRE(cudaStreamCreate(&stream));
  MPEFT_CUDA_REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < repeats; ++i) launch(stream, i);
  MPEFT_CUDA_REQUIRE(cudaStreamEndCapture(stream, &graph));
  MPEFT_CUDA_REQUIRE(cudaGraphInstantiate(&replay, graph, 0));
  const double ms = median_ms([&] { MPEFT_CUDA_REQUIRE(cudaGraphLaunch(replay, nullptr)); });
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return ms / repeats;
}

namespace {

__global__ void empty_kernel() {}

void time_empty() {
  auto launch = [](cudaStream_t stream, int = 0) { empty_kernel<<<1, 32, 0, stream>>>(); };
  const double between_events = median_ms([&] { launch(nullptr); });
  std::printf("empty launch %.4f, fed %.4f, in a graph %.4f\n", between_events, fed_ms([&] { launch(nullptr); }),
              graph_ms(launch));
}

using namespace kernels;
using scalar_t = __nv_bfloat16;

struct Shape {
  int64_t batch, d_inner, seqlen;
  double peer_scan_fwd, peer_scan_bwd, peer_conv_fwd,
      peer_conv_bwd;  ///< ms on an H200 by Mamba's own kernels; 0: unknown
};

/// The scan as a model calls it: u and delta contiguous, z half of a wider buffer, B and C in the rows of x_proj's
/// output.
void time_scan(const Shape& s, int64_t d_state) {
  const int64_t tokens = s.batch * s.seqlen, inner = tokens * s.d_inner, rank = 48, columns = rank + 2 * d_state;
  auto u = drawn<scalar_t>(inner), z = drawn<scalar_t>(2 * inner), dout = drawn<scalar_t>(inner);
  auto delta = drawn<scalar_t>(inner, -2, -1), x_dbl = drawn<scalar_t>(tokens * columns);
  auto A = drawn<float>(s.d_inner * d_state, -8.5, -0.5), D = drawn<float>(s.d_inner);
  auto bias = drawn<float>(s.d_inner, -1, 0);
  DeviceArray<scalar_t> out(static_cast<size_t>(inner)), y(static_cast<size_t>(inner)), du(static_cast<size_t>(inner));
  DeviceArray<scalar_t> ddelta(static_cast<size_t>(inner)), dz(static_cast<size_t>(2 * inner));
  DeviceArray<scalar_t> dx_dbl(static_cast<size_t>(tokens * columns));
  DeviceArray<float> checkpoints(static_cast<size_t>(s.batch * ((s.seqlen + 7) / 8) * s.d_inner * d_state));
  DeviceArray<float> dA(A.size()), dD(D.size()), dbias(bias.size());
  auto sequence = [&](auto* data, int64_t pitch) {
    return Sequence<std::remove_pointer_t<decltype(data)>>{data, s.seqlen * pitch, pitch};
  };
  auto constant = [](const scalar_t* data) { return data; };
  auto inputs = [&](SelectiveScanInputs<scalar_t>& p) {
    p.batch = s.batch, p.seqlen = s.seqlen, p.d_inner = s.d_inner, p.d_state = d_state, p.delta_softplus = true;
    p.u = sequence(constant(u.data()), s.d_inner), p.delta = sequence(constant(delta.data()), s.d_inner);
    p.z = sequence(constant(z.data() + s.d_inner), 2 * s.d_inner);
    p.B = sequence(constant(x_dbl.data() + rank), columns);
    p.C = sequence(constant(x_dbl.data() + rank + d_state), columns);
    p.A = A.data(), p.D = D.data(), p.delta_bias = bias.data();
  };
  SelectiveScanFwdParams<scalar_t> f;
  inputs(f);
  f.out = out.data(), f.checkpoints = checkpoints.data();
  SelectiveScanBwdParams<scalar_t> b;
  inputs(b);
  b.dout = sequence(constant(dout.data()), s.d_inner);
  b.checkpoints = checkpoints.data();
  b.du = sequence(du.data(), s.d_inner), b.ddelta = sequence(ddelta.data(), s.d_inner);
  b.dz = sequence(dz.data() + s.d_inner, 2 * s.d_inner);
  b.dB = sequence(dx_dbl.data() + rank, columns), b.dC = sequence(dx_dbl.data() + rank + d_state, columns);
  b.dA = dA.data(), b.dD = dD.data(), b.ddelta_bias = dbias.data();
  DeviceArray<char> workspace(0);
  auto keep = [&](bool compact) {
    f.checkpoint_every = b.checkpoint_every = compact ? kSelectiveScanCompactEvery : kSelectiveScanCheckpointEvery;
    b.y = f.y = !compact && selective_scan_keeps_y(f) ? y.data() : nullptr;
    workspace = DeviceArray<char>(static_cast<size_t>(selective_scan_bwd_workspace_bytes(b)));
  };
  auto forward_on = [&](cudaStream_t stream, int = 0) { MPEFT_CUDA_REQUIRE(launch_selective_scan_fwd(f, stream)); };
  auto backward_on = [&](cudaStream_t stream, int = 0) {
    MPEFT_CUDA_REQUIRE(launch_selective_scan_bwd(b, workspace.data(), stream));
  };
  auto forward = [&] { forward_on(nullptr); };
  auto backward = [&] { backward_on(nullptr); };
  keep(/*compact=*/false);
  const double fwd = median_ms(forward), bwd = median_ms(backward);
  const double fwd_fed = fed_ms(forward), bwd_fed = fed_ms(backward);
  b.dA = b.dD = b.ddelta_bias = nullptr;
  const double frozen = median_ms(backward);
  b.dA = dA.data(), b.dD = dD.data(), b.ddelta_bias = dbias.data();
  keep(/*compact=*/true);
  const double compact_fwd = median_ms(forward), compact_bwd = median_ms(backward);
  const double compact_fwd_fed = fed_ms(forward), compact_bwd_fed = fed_ms(backward);
  f.checkpoints = nullptr;
  const double inference = median_ms(forward);
  f.checkpoints = checkpoints.data();
  // last, because long graphs lower the clock for half a second (kernels/README.md); drawing the next inputs takes more
  keep(/*compact=*/false);
  const double fwd_graph = graph_ms(forward_on), bwd_graph = graph_ms(backward_on);
  auto print_with_shares = [&](const char* way, double forward_ms, double backward_ms, double compact_forward_ms,
                               double compact_backward_ms) {
    std::printf("  %s fwd %.4f", way, forward_ms);
    if (s.peer_scan_fwd > 0) std::printf(" (%.3f)", forward_ms / s.peer_scan_fwd);
    std::printf("  bwd %.4f", backward_ms);
    if (s.peer_scan_bwd > 0) std::printf(" (%.3f)", backward_ms / s.peer_scan_bwd);
    std::printf("  compact %.4f %.4f", compact_forward_ms, compact_backward_ms);
  };
  std::printf("scan %d, %d, %d N%d\n", (int)s.batch, (int)s.d_inner, (int)s.seqlen, (int)d_state);
  print_with_shares("between events:", fwd, bwd, compact_fwd, compact_bwd);
  std::printf("  without checkpoints %.4f  without dA dD dbias %.4f\n", inference, frozen);
  print_with_shares("fed:           ", fwd_fed, bwd_fed, compact_fwd_fed, compact_bwd_fed);
  std::printf("\n  in a graph:     fwd %.4f  bwd %.4f\n", fwd_graph, bwd_graph);
  std::fflush(stdout);
}

void time_conv(const Shape& s) {
  const int64_t inner = s.batch * s.seqlen * s.d_inner;
  auto x = drawn<scalar_t>(2 * inner), dout = drawn<scalar_t>(inner);
  auto weight = drawn<float>(s.d_inner * 4), bias = drawn<float>(s.d_inner);
  DeviceArray<scalar_t> out(static_cast<size_t>(inner)), dx(static_cast<size_t>(2 * inner));
  DeviceArray<float> dweight(weight.size()), dbias(bias.size());
  auto inputs = [&](CausalConv1dInputs<scalar_t>& p) {
    p.batch = s.batch, p.seqlen = s.seqlen, p.d_inner = s.d_inner, p.width = 4;
    p.x = {x.data(), 2 * s.d_inner * s.seqlen, 2 * s.d_inner};
    p.weight = weight.data(), p.bias = bias.data();
  };
  CausalConv1dFwdParams<scalar_t> f;
  inputs(f);
  f.out = out.data();
  CausalConv1dBwdParams<scalar_t> b;
  inputs(b);
  b.dout = {dout.data(), s.d_inner * s.seqlen, s.d_inner};
  b.dx = {dx.data(), 2 * s.d_inner * s.seqlen, 2 * s.d_inner};
  DeviceArray<char> workspace(0);
  auto forward = [&](cudaStream_t stream, int = 0) { MPEFT_CUDA_REQUIRE(launch_causal_conv1d_fwd(f, stream)); };
  auto backward = [&](cudaStream_t stream, int = 0) {
    MPEFT_CUDA_REQUIRE(launch_causal_conv1d_bwd(b, workspace.data(), stream));
  };
  const double fwd = median_ms([&] { forward(nullptr); }), fwd_graph = graph_ms(forward);
  const double dx_only = median_ms([&] { backward(nullptr); }), dx_graph = graph_ms(backward);
  b.dweight = dweight.data(), b.dbias = dbias.data();
  workspace = DeviceArray<char>(static_cast<size_t>(causal_conv1d_bwd_workspace_bytes(b)));
  const double bwd = median_ms([&] { backward(nullptr); }), bwd_graph = graph_ms(backward);
  const double fwd_fed = fed_ms([&] { forward(nullptr); }), bwd_fed = fed_ms([&] { backward(nullptr); });
  auto share = [](double ms, double peer) { return peer > 0 ? ms / peer : 0.; };
  std::printf("conv %2d,%5d,%5d between events: fwd %.4f (%.2f)  bwd %.4f (%.2f)  dx only %.4f", (int)s.batch,
              (int)s.d_inner, (int)s.seqlen, fwd, share(fwd, s.peer_conv_fwd), bwd, share(bwd, s.peer_conv_bwd),
              dx_only);
  std::printf("  fed: fwd %.4f (%.2f)  bwd %.4f (%.2f)", fwd_fed, share(fwd_fed, s.peer_conv_fwd), bwd_fed,
              share(bwd_fed, s.peer_conv_bwd));
  std::printf("  in a graph: fwd %.4f %4.0f GB/s  bwd %.4f %4.0f GB/s  dx only %.4f %4.0f GB/s\n", fwd_graph,
              inner * 4e-6 / fwd_graph, bwd_graph, inner * 6e-6 / bwd_graph, dx_graph, inner * 6e-6 / dx_graph);
  std::fflush(stdout);
}

void time_norm(int64_t rows, int64_t d_model) {
  const int64_t n = rows * d_model;
  auto x = drawn<scalar_t>(n), dout = drawn<scalar_t>(n);
  auto residual = drawn<float>(n), weight = drawn<float>(d_model), dresidual_out = drawn<float>(n);
  DeviceArray<scalar_t> out(static_cast<size_t>(n)), dx(static_cast<size_t>(n));
  DeviceArray<float> residual_out(static_cast<size_t>(n)), rstd(static_cast<size_t>(rows));
  DeviceArray<float> dresidual(static_cast<size_t>(n)), dweight(static_cast<size_t>(d_model));
  RmsNormFwdParams<scalar_t> f;
  f.rows = rows, f.d_model = d_model, f.x = x.data(), f.residual = residual.data(), f.weight = weight.data();
  f.out = out.data(), f.residual_out = residual_out.data(), f.rstd = rstd.data();
  auto forward = [&] { MPEFT_CUDA_REQUIRE(launch_rms_norm_fwd(f, nullptr)); };
  const double fwd = median_ms(forward), fwd_fed = fed_ms(forward);
  RmsNormBwdParams<scalar_t> b;
  b.rows = rows, b.d_model = d_model, b.dout = dout.data(), b.residual_out = residual_out.data();
  b.dresidual_out = dresidual_out.data(), b.weight = weight.data(), b.rstd = rstd.data();
  b.dx = dx.data(), b.dresidual = dresidual.data();
  auto backward = [&] { MPEFT_CUDA_REQUIRE(launch_rms_norm_bwd(b, nullptr, nullptr)); };
  const double bwd = median_ms(backward), bwd_fed = fed_ms(backward);
  b.dweight = dweight.data();
  DeviceArray<char> workspace(static_cast<size_t>(rms_norm_bwd_workspace_bytes(b)));
  const double full = median_ms([&] { MPEFT_CUDA_REQUIRE(launch_rms_norm_bwd(b, workspace.data(), nullptr)); });
  std::printf("norm %5d,%5d between events: fwd %.4f %5.0f GB/s  bwd %.4f %5.0f GB/s  with dweight %.4f", (int)rows,
              (int)d_model, fwd, n * 12e-6 / fwd, bwd, n * 16e-6 / bwd, full);
  std::printf("  fed: fwd %.4f %5.0f GB/s  bwd %.4f %5.0f GB/s\n", fwd_fed, n * 12e-6 / fwd_fed, bwd_fed,
              n * 16e-6 / bwd_fed);
}

void time_copy() {
  const int64_t bytes = int64_t{1} << 30;
  DeviceArray<char> from(static_cast<size_t>(bytes)), to(static_cast<size_t>(bytes));
  const double ms = median_ms([&] {
    MPEFT_CUDA_REQUIRE(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice));
  });
  std::printf("copy %.0f GB/s (read + written)\n", 2. * static_cast<double>(bytes) * 1e-6 / ms);
}

}  // namespace

void time_all(const std::set<Op>& ops) {
  // (batch, d_inner, seqlen): state-spaces/mamba's selective_scan_cuda and causal_conv1d, N = 16, one H200
  const Shape shapes[] = {{1, 1536, 512, .0255, .117, .0061, .0090},  {4, 1536, 128, .0298, .102, 0, 0},
                          {4, 1536, 256, .0387, .162, .0101, .0188},  {4, 1536, 512, .0636, .234, .0105, .0191},
                          {4, 1536, 600, .187, .514, 0, 0},           {4, 1536, 2048, .234, .920, .0188, .0306},
                          {4, 4096, 512, .148, .549, .0200, .0407},   {4, 4096, 600, .466, 1.307, 0, 0},
                          {4, 4096, 2048, .591, 2.336, .0413, .0682}, {4, 5120, 512, .180, .676, .0246, .0503},
                          {4, 5120, 2048, .733, 2.891, .0497, .0821}, {1, 5120, 8192, .909, 3.316, .0500, .0747},
                          {32, 1536, 512, .407, 1.577, .0508, .109}};
  time_copy();
  time_empty();
  if (ops.contains(Op::kScan)) {
    for (const Shape& s : shapes) time_scan(s, 16);
    for (const int64_t d_state : {8, 12, 32, 64, 128}) time_scan({4, 1536, 512, 0, 0, 0, 0}, d_state);
    for (const int64_t seqlen : {500, 600, 1000, 1100, 1500}) time_scan({4, 1536, seqlen, 0, 0, 0, 0}, 16);
    for (const int64_t seqlen : {500, 600, 1100}) time_scan({4, 4096, seqlen, 0, 0, 0, 0}, 16);
    for (const int64_t rows : {1, 5, 80}) time_scan({rows, 1536, 1, 0, 0, 0, 0}, 16);
    for (const int64_t seqlen : {24, 64, 96}) time_scan({80, 1536, seqlen, 0, 0, 0, 0}, 16);
    time_scan({16, 4096, 64, 0, 0, 0, 0}, 16);
  }
  if (ops.contains(Op::kConv)) {
    for (const Shape& s : shapes) time_conv(s);
    time_conv({5, 1536, 1, 0, 0, 0, 0});
  }
  if (ops.contains(Op::kNorm)) {
    for (const int64_t d_model : {768, 2048, 2560}) {
      for (const int64_t rows : {5, 512, 2048, 8192, 16384, 32768}) time_norm(rows, d_model);
    }
  }
  if (ops.contains(Op::kLoss)) time_cross_entropy();
  if (ops.contains(Op::kDecode)) time_decode();
}

}  // namespace mpeft::cuda_check

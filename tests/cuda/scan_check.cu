// Correctness of the selective scan's CUDA kernels against the fp64 reference.
#include <deque>
#include <functional>
#include <memory>
#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/reference.h"
#include "kernels/selective_scan/selective_scan_launch.h"

#include "tests/cuda/checks.h"
#include "tests/cuda/repeats.cuh"

namespace mpeft::cuda_check {
namespace {

using kernels::ScanBwdKernel;
using kernels::SelectiveScanBwdParams;
using kernels::SelectiveScanFwdParams;
using kernels::SelectiveScanInputs;

template <typename scalar_t>
struct Tolerance {
  double stored;  ///< tensors in scalar_t
  double sums;    ///< tensors in float that add up products of rounded factors
  double states;  ///< the recurrence itself, in float throughout
};
template <typename scalar_t>
Tolerance<scalar_t> tolerance() {
  constexpr double kStates = 1e-5;
  if (sizeof(scalar_t) == 4) return {1e-5, 1e-5, kStates};
  return Report::dtype[0] == 'b' ? Tolerance<scalar_t>{3e-3, 3e-4, kStates} : Tolerance<scalar_t>{5e-4, 5e-5, kStates};
}

template <typename scalar_t>
class ScanCheck {
 public:
  ScanCheck(const ScanCase& c, Report& report)
      : c_(c),
        report_(report),
        rows_(c.packed > 0 ? c.packed : c.batch),
        x_dbl_columns_(c.rank + 2 * c.d_state),
        pad_(c.misaligned ? 1 : 0),
        u(c.batch, c.seqlen, c.d_inner, c.strided ? c.d_inner + 16 : 0, pad_),
        delta(c.batch, c.seqlen, c.d_inner, 0, pad_),
        z(c.batch, c.seqlen, c.d_inner, c.strided ? 2 * c.d_inner : 0, c.strided && !c.misaligned ? c.d_inner : pad_),
        dout(c.batch, c.seqlen, c.d_inner),
        B(c.batch, c.seqlen, c.d_state, x_dbl_columns_, c.rank),
        C(c.batch, c.seqlen, c.d_state, x_dbl_columns_, c.rank + c.d_state),
        A(1, c.d_inner, c.d_state),
        D(1, 1, c.d_inner),
        delta_bias(1, 1, c.d_inner),
        initial_state(c.initial_state == 2 ? rows_ : 1, c.d_inner, c.d_state),
        dlast_state(rows_, c.d_inner, c.d_state),
        out(c.batch, c.seqlen, c.d_inner),
        y_(c.batch, c.seqlen, c.d_inner),
        last_state(rows_, c.d_inner, c.d_state),
        du(c.batch, c.seqlen, c.d_inner),
        ddelta(c.batch, c.seqlen, c.d_inner),
        dz(c.batch, c.seqlen, c.d_inner, c.strided ? 2 * c.d_inner : 0, c.strided ? c.d_inner : 0),
        dB(c.batch, c.seqlen, c.d_state, x_dbl_columns_, c.rank),
        dC(c.batch, c.seqlen, c.d_state, x_dbl_columns_, c.rank + c.d_state),
        dA(1, c.d_inner, c.d_state),
        dD(1, 1, c.d_inner),
        ddelta_bias(1, 1, c.d_inner),
        dinitial_state(rows_, c.d_inner, c.d_state) {
    for (int i = 0; i < kTerms; ++i) {
      const int64_t columns = i == kOutOffset ? 1 : c.d_state;
      terms_.emplace_back(1, c.d_inner, columns);
      dterms_.emplace_back(1, c.d_inner, columns);
    }
    draw();
  }

  /// 100 repeats and a replay of a captured graph give the bits of the first run.
  void run_repeats() {
    for (const ScanBwdKernel kernel : backward_kernels()) bwd_kernel_ = kernel, repeat();
  }

  void run() {
    check_forward();
    backward_reference();
    for (const ScanBwdKernel kernel : backward_kernels()) bwd_kernel_ = kernel, check_backward();
    if constexpr (sizeof(scalar_t) == 4) require_float_accuracy();
  }

 private:
  /// Those that take the case.
  std::vector<ScanBwdKernel> backward_kernels() const {
    if (!std::is_same_v<scalar_t, __nv_bfloat16> || c_.d_state != 16 || c_.terms != 0) return {ScanBwdKernel::kFaster};
    if (c_.bwd_kernel != ScanBwdKernel::kFaster) return {c_.bwd_kernel};
    return {ScanBwdKernel::kTiles, ScanBwdKernel::kRoles};
  }

  void repeat() {
    const DeviceArray<char> workspace = make_workspace();
    const std::vector<DeviceBytes> scratch = {bytes_of(workspace), bytes_of(*checkpoints_), bytes_of(y_.array())};
    require_repeats(report_, name(), outputs(), wanted_outputs(), scratch, [&](cudaStream_t stream) {
      MPEFT_CUDA_REQUIRE(launch(forward_params(), stream));
      MPEFT_CUDA_REQUIRE(kernels::launch_selective_scan_bwd(backward_params(), workspace.data(), stream));
    });
  }

  template <typename T, typename Launch>
  static bool same(Tensor<T>& tensor, const Launch& launch) {
    const auto before = tensor.array().download();
    launch();
    const auto after = tensor.array().download();
    return std::memcmp(before.data(), after.data(), before.size() * sizeof(before[0])) == 0;
  }

  void check_forward() {
    const auto tol = tolerance<scalar_t>();
    forward();
    report_.compare("scan", "out", out, tol.stored, name());
    if (c_.last_state) report_.compare("scan", "last_state", last_state, tol.states, name());
    report_.require(same(out, [&] { launch_forward(); }), name() + ": out differs between two runs");
    report_.require(same(out, [&] { launch_inference(); }), name() + ": out differs when nothing is kept");
  }

  void check_backward() {
    const auto tol = tolerance<scalar_t>();
    check_kernel();
    check_cut_rows();
    launch_backward();
    auto check = [&](const char* tensor_name, auto& tensor, double tol_of, bool wanted) {
      if (wanted) report_.compare("scan", tensor_name, tensor, tol_of, name());
      report_.require(same(tensor, [&] { launch_backward(); }),
                      name() + ": " + tensor_name + " differs between two runs");
    };
    const unsigned w = c_.wanted;
    check("du", du, tol.stored, w & 1);
    check("ddelta", ddelta, tol.stored, w & 2);
    check("dz", dz, tol.stored, (w & 4) && c_.z);
    check("dB", dB, tol.stored, w & 8);
    check("dC", dC, tol.stored, w & 16);
    check("dA", dA, tol.sums, w & 32);
    check("dD", dD, tol.sums, (w & 64) && c_.D);
    check("ddelta_bias", ddelta_bias, tol.sums, (w & 128) && c_.delta_bias);
    check("dinitial_state", dinitial_state, tol.sums, (w & 256) && c_.initial_state);
    for (int i = 0; i < kTerms; ++i) {
      if (has_term(i)) check(kTermGradients[i], dterms_[static_cast<size_t>(i)], tol.sums, w >> (9 + i) & 1);
    }
  }

  /// The same numbers in float, for the plain loops in float.
  class InFloat {
   public:
    template <typename T>
    kernels::Sequence<float> operator()(Tensor<T>& x) {
      const std::vector<double>& values = x.values();
      copies_.emplace_back(values.begin(), values.end());
      const auto host = x.host();
      return {copies_.back().data() + x.offset(), host.batch_stride, host.time_stride};
    }
    const std::vector<float>& last() const { return copies_.back(); }

   private:
    std::deque<std::vector<float>> copies_;
  };

  /// Float I/O is at most 1.2 times as far from the truth as the plain loops in float are, which is how far plain
  /// tensor code is; errors below 3e-7 are the storage's rounding, which in tensors of a few values (dD of 4 channels)
  /// does not average out.
  void require_float_accuracy() {
    InFloat in_float;
    auto data = [&](auto& x) { return in_float(x).data; };
    auto constant = [&](auto& x) {
      const auto s = in_float(x);
      return kernels::Sequence<const float>{s.data, s.batch_stride, s.time_stride};
    };
    auto inputs = [&](SelectiveScanInputs<float>& p) {
      sizes(p);
      p.u = constant(u), p.delta = constant(delta), p.B = constant(B), p.C = constant(C);
      if (c_.z) p.z = constant(z);
      p.A = data(A);
      if (c_.D) p.D = data(D);
      if (c_.delta_bias) p.delta_bias = data(delta_bias);
      if (c_.initial_state) p.initial_state = data(initial_state);
      if (c_.lengths) p.lengths = lengths_.data();
      if (c_.packed > 0) p.cu_seqlens = starts_.data();
      set_terms(p, data);
    };
    auto judge = [&](const char* tensor, auto& x, const std::vector<float>& plain) {
      const double ours = relative_error(x, x.array().download()), theirs = relative_error(x, plain);
      char text[160];
      std::snprintf(text, sizeof text, ": %s of %zu values error %.2e, of plain loops in float %.2e", tensor,
                    plain.size(), ours, theirs);
      const double rounding = 3e-7 * (1 + 8 / std::sqrt(static_cast<double>(plain.size())));
      report_.require(ours <= 1.2 * theirs + rounding, name() + text);
    };
    SelectiveScanFwdParams<float> f;
    inputs(f);
    f.out = data(out);
    const std::vector<float>& out_plain = in_float.last();
    kernels::selective_scan_fwd_reference(f);
    judge("out", out, out_plain);
    SelectiveScanBwdParams<float> b;
    inputs(b);
    b.dout = constant(dout);
    if (c_.dlast_state) b.dlast_state = data(dlast_state);
    std::vector<std::function<void()>> judgements;
    auto keep = [&](auto& x) {
      const auto s = in_float(x);
      const std::vector<float>* const plain = &in_float.last();
      judgements.push_back([&judge, &x, plain] { judge("a gradient", x, *plain); });
      return s;
    };
    gradients(
        b, keep, [&](auto& x) { return keep(x).data; }, c_.wanted);
    kernels::selective_scan_bwd_reference(b);
    for (const auto& judgement : judgements) judgement();
  }

  std::vector<DeviceBytes> outputs() {
    std::vector<DeviceBytes> all;
    for (Tensor<scalar_t>* x : {&out, &du, &ddelta, &dz, &dB, &dC}) all.push_back(bytes_of(x->array()));
    for (Tensor<float>* x : {&last_state, &dA, &dD, &ddelta_bias, &dinitial_state}) all.push_back(bytes_of(x->array()));
    for (Tensor<float>& x : dterms_) all.push_back(bytes_of(x.array()));
    return all;
  }

  /// Those that the case asks for: out, the last state, then gradients in the order of ScanCase::wanted.
  std::vector<DeviceBytes> wanted_outputs() {
    std::vector<DeviceBytes> all = {bytes_of(out.array())};
    if (c_.last_state) all.push_back(bytes_of(last_state.array()));
    const auto keep = [&](auto& x) {
      all.push_back(bytes_of(x.array()));
      return x.device();
    };
    SelectiveScanBwdParams<scalar_t> places;
    gradients(
        places, keep, [&](auto& x) { return keep(x).data; }, c_.wanted);
    return all;
  }

  static constexpr int kTerms = 6, kOutOffset = 1;
  static constexpr const char* kTermGradients[] = {"dstate_offset", "dout_offset", "dB_scale",
                                                   "dB_bias",       "dC_scale",    "dC_bias"};
  bool has_term(int i) const { return c_.terms >> i & 1; }
  int64_t every() const {
    return c_.compact ? kernels::kSelectiveScanCompactEvery : kernels::kSelectiveScanCheckpointEvery;
  }
  bool keeps_y() {
    SelectiveScanInputs<scalar_t> p;
    device_inputs(p);
    return (!c_.compact || c_.compact_with_y) && kernels::selective_scan_keeps_y(p);
  }

  void draw() {
    std::mt19937 random(static_cast<unsigned>(c_.batch * 7919 + c_.seqlen * 31 + c_.d_inner * 7 + c_.d_state));
    for (Tensor<scalar_t>* x : {&u, &z, &dout, &B, &C}) x->fill(random);
    if (c_.extreme) {
      delta.fill(random, -20, 30);
    } else {
      delta.fill(random, c_.softplus ? -3. : 0.001, c_.softplus ? 1. : 0.3);
    }
    for (Tensor<float>* x : {&D, &initial_state, &dlast_state}) x->fill(random);
    delta_bias.fill(random, c_.softplus ? -1. : 0.001, 0.1);  // without softplus delta must stay positive
    A.fill(random, c_.extreme ? -22026.5 : -8.5, c_.extreme ? -1000. : -0.5);
    for (int64_t d = 0; d < c_.d_inner; ++d) {  // long memories, also where a lane's last decay is a polynomial
      A.at(0, d, 0) = static_cast<float>(-0.01);
      if (c_.d_state > 3) A.at(0, d, 3) = static_cast<float>(-0.01);
    }
    if (c_.lengths) {
      for (int64_t b = 0; b < c_.batch; ++b) {
        lengths_.push_back(static_cast<int32_t>(b == 0 ? c_.seqlen : (b * 977) % (c_.seqlen + 1)));
      }
      lengths_device_ = std::make_unique<DeviceArray<int32_t>>(lengths_);
    }
    if (c_.packed > 0) {
      starts_ = packed_starts(c_.packed, c_.seqlen);
      starts_device_ = std::make_unique<DeviceArray<int32_t>>(starts_);
    }
    for (Tensor<scalar_t>* x : {&u, &delta, &z, &dout, &B, &C}) {
      x->poison_padding(c_.packed > 0 ? std::vector<int32_t>{starts_.back()} : lengths_);
      x->upload();
    }
    for (Tensor<float>& x : terms_) {
      x.fill(random, 0.2, 1.5);
      x.upload();
    }
    for (Tensor<float>* x : {&A, &D, &delta_bias, &initial_state, &dlast_state}) x->upload();
    const int64_t kept = kernels::n_row_parts(rows_, c_.seqlen, c_.packed > 0, every());
    checkpoints_ = std::make_unique<DeviceArray<float>>(static_cast<size_t>(kept * c_.d_inner * c_.d_state));
  }

  void sizes(auto& p) const {
    p.batch = rows_, p.seqlen = c_.seqlen, p.d_inner = c_.d_inner, p.d_state = c_.d_state;
    p.delta_softplus = c_.softplus;
    p.initial_state_batch_stride = c_.initial_state == 2 ? c_.d_inner * c_.d_state : 0;
  }
  void device_inputs(SelectiveScanInputs<scalar_t>& p) {
    sizes(p);
    using in_t = const scalar_t;
    p.u = u.template device<in_t>(), p.delta = delta.template device<in_t>();
    p.B = B.template device<in_t>(), p.C = C.template device<in_t>();
    if (c_.z) p.z = z.template device<in_t>();
    p.A = A.device_data();
    if (c_.D) p.D = D.device_data();
    if (c_.delta_bias) p.delta_bias = delta_bias.device_data();
    if (c_.initial_state) p.initial_state = initial_state.device_data();
    if (c_.lengths) p.lengths = lengths_device_->data();
    if (c_.packed > 0) p.cu_seqlens = starts_device_->data();
    set_terms(p, [](Tensor<float>& x) { return x.device_data(); });
  }
  void host_inputs(SelectiveScanInputs<double>& p) {
    sizes(p);
    p.u = u.template host<const double>(), p.delta = delta.template host<const double>();
    p.B = B.template host<const double>(), p.C = C.template host<const double>();
    if (c_.z) p.z = z.template host<const double>();
    p.A = A.host_data();
    if (c_.D) p.D = D.host_data();
    if (c_.delta_bias) p.delta_bias = delta_bias.host_data();
    if (c_.initial_state) p.initial_state = initial_state.host_data();
    if (c_.lengths) p.lengths = lengths_.data();
    if (c_.packed > 0) p.cu_seqlens = starts_.data();
    set_terms(p, [](Tensor<float>& x) { return x.host_data(); });
  }
  template <typename params_t, typename pointer_of>
  void set_terms(params_t& p, const pointer_of& pointer) {
    int i = 0;
    for (auto* to : {&p.state_offset, &p.out_offset, &p.B_scale, &p.B_bias, &p.C_scale, &p.C_bias}) {
      if (has_term(i)) *to = pointer(terms_[static_cast<size_t>(i)]);
      ++i;
    }
  }

  SelectiveScanFwdParams<scalar_t> forward_params() {
    SelectiveScanFwdParams<scalar_t> p;
    device_inputs(p);
    p.out = out.device_data();
    if (c_.last_state) p.last_state = last_state.device_data();
    p.checkpoint_every = every();
    p.checkpoints = checkpoints_->data();
    if (keeps_y()) p.y = y_.device_data();
    return p;
  }
  cudaError_t launch(const SelectiveScanFwdParams<scalar_t>& p, cudaStream_t stream) const {
    if constexpr (std::is_same_v<scalar_t, __nv_bfloat16>) {
      if (c_.roles_shape >= 0) {
        const cudaError_t error = kernels::launch_selective_scan_fwd_roles(p, c_.roles_shape, stream);
        if (error != cudaErrorNotSupported) return error;
        const int major = kernels::device_attribute(cudaDevAttrComputeCapabilityMajor);
        report_.require(major != 9, name() + ": not taken by roles");  // which other devices may not have
      }
    }
    return kernels::launch_selective_scan_fwd(p, stream);
  }
  void launch_forward() {
    for (auto* x : {&out, &y_}) x->array().poison();
    MPEFT_CUDA_REQUIRE(launch(forward_params(), cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  }
  void launch_inference() {  // nothing is kept for a backward
    out.array().poison();
    auto p = forward_params();
    p.checkpoints = nullptr, p.y = nullptr;
    MPEFT_CUDA_REQUIRE(launch(p, cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  }
  void forward() {
    launch_forward();
    SelectiveScanFwdParams<double> p;
    host_inputs(p);
    p.out = out.host_data(), p.last_state = last_state.host_data();
    kernels::selective_scan_fwd_reference(p);
  }

  template <typename params_t, typename sequence_of, typename pointer_of>
  void gradients(params_t& p, sequence_of&& sequence, pointer_of&& pointer, unsigned wanted) {
    if (wanted & 1) p.du = sequence(du);
    if (wanted & 2) p.ddelta = sequence(ddelta);
    if ((wanted & 4) && c_.z) p.dz = sequence(dz);
    if (wanted & 8) p.dB = sequence(dB);
    if (wanted & 16) p.dC = sequence(dC);
    if (wanted & 32) p.dA = pointer(dA);
    if ((wanted & 64) && c_.D) p.dD = pointer(dD);
    if ((wanted & 128) && c_.delta_bias) p.ddelta_bias = pointer(ddelta_bias);
    if ((wanted & 256) && c_.initial_state) p.dinitial_state = pointer(dinitial_state);
    int i = 0;
    for (auto* to : {&p.dstate_offset, &p.dout_offset, &p.dB_scale, &p.dB_bias, &p.dC_scale, &p.dC_bias}) {
      if ((wanted >> (9 + i) & 1) && has_term(i)) *to = pointer(dterms_[static_cast<size_t>(i)]);
      ++i;
    }
  }
  SelectiveScanBwdParams<scalar_t> backward_params() {
    SelectiveScanBwdParams<scalar_t> p;
    device_inputs(p);
    p.dout = dout.template device<const scalar_t>();
    if (c_.dlast_state) p.dlast_state = dlast_state.device_data();
    p.checkpoint_every = every();
    p.checkpoints = checkpoints_->data();
    if (keeps_y()) p.y = y_.device_data();
    p.kernel = bwd_kernel_;
    gradients(
        p, [](auto& x) { return x.device(); }, [](auto& x) { return x.device_data(); }, c_.wanted);
    return p;
  }
  /// Of each part of the work (a row, and one more for each further chunk of a row that is cut) the workspace has a dA.
  int64_t backward_parts() {
    SelectiveScanBwdParams<scalar_t> p = backward_params();
    p.dA = dA.device_data();
    const int64_t with_dA = kernels::selective_scan_bwd_workspace_bytes(p);
    p.dA = nullptr;
    return (with_dA - kernels::selective_scan_bwd_workspace_bytes(p)) /
           (c_.d_inner * c_.d_state * static_cast<int64_t>(sizeof(float)));
  }
  DeviceArray<char> make_workspace() {
    return DeviceArray<char>(static_cast<size_t>(kernels::selective_scan_bwd_workspace_bytes(backward_params())));
  }
  /// A case that names the roles is there for them: where the program should have code for them, they take it.
  void check_kernel() {
    if constexpr (std::is_same_v<scalar_t, __nv_bfloat16>) {
      if (c_.bwd_kernel != ScanBwdKernel::kRoles || !is_roles_device()) return;
      report_.require(kernels::selective_scan_bwd_takes_roles(backward_params()), name() + ": not by roles");
    }
  }
  /// How this device is to cut the case.
  void check_cut_rows() {
    if (bwd_kernel_ == ScanBwdKernel::kRoles && !is_roles_device()) return;
    const int64_t further = backward_parts() - rows_;
    if (c_.cut_rows > 0 && kernels::multiprocessors() == 132) {  // chosen for that many
      report_.require(further > 0 && further % c_.cut_rows == 0,
                      name() + ": not cut in " + std::to_string(c_.cut_rows) + " rows");
    }
    // every block is cut, so that as many chunks of each row would be a multiple of the rows
    if (c_.joined_rests) report_.require(further % rows_ != 0, name() + ": all blocks are cut alike");
  }
  void launch_backward() {
    for (Tensor<scalar_t>* x : {&du, &ddelta, &dz, &dB, &dC}) x->array().poison();
    for (Tensor<float>* x : {&dA, &dD, &ddelta_bias, &dinitial_state}) x->array().poison();
    for (Tensor<float>& x : dterms_) x.array().poison();
    const DeviceArray<char> workspace = make_workspace();
    MPEFT_CUDA_REQUIRE(kernels::launch_selective_scan_bwd(backward_params(), workspace.data(), cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  }
  void backward_reference() {
    SelectiveScanBwdParams<double> p;
    host_inputs(p);
    p.dout = dout.template host<const double>();
    if (c_.dlast_state) p.dlast_state = dlast_state.host_data();
    gradients(
        p, [](auto& x) { return x.host(); }, [](auto& x) { return x.host_data(); }, ScanCase::kAllGradients);
    kernels::selective_scan_bwd_reference(p);
  }

  std::string name() const {
    char text[256];
    std::snprintf(text, sizeof text,
                  "scan %s B%d L%d D%d N%d rank%d z%d D%d bias%d h0%d len%d last%d dlast%d sp%d st%d mis%d ext%d "
                  "terms%x packed%d compact%d w%x roles%d bwd%d",
                  Report::dtype, (int)c_.batch, (int)c_.seqlen, (int)c_.d_inner, (int)c_.d_state, (int)c_.rank, c_.z,
                  c_.D, c_.delta_bias, c_.initial_state, c_.lengths, c_.last_state, c_.dlast_state, c_.softplus,
                  c_.strided, c_.misaligned, c_.extreme, c_.terms, c_.packed, c_.compact ? 1 + c_.compact_with_y : 0,
                  c_.wanted, c_.roles_shape, static_cast<int>(bwd_kernel_));
    return text;
  }

  ScanCase c_;
  ScanBwdKernel bwd_kernel_ = ScanBwdKernel::kFaster;
  Report& report_;
  int64_t rows_, x_dbl_columns_, pad_;
  Tensor<scalar_t> u, delta, z, dout, B, C;
  Tensor<float> A, D, delta_bias, initial_state, dlast_state;
  Tensor<scalar_t> out, y_;
  Tensor<float> last_state;
  Tensor<scalar_t> du, ddelta, dz, dB, dC;
  Tensor<float> dA, dD, ddelta_bias, dinitial_state;
  std::vector<Tensor<float>> terms_, dterms_;
  std::vector<int32_t> lengths_, starts_;
  std::unique_ptr<DeviceArray<int32_t>> lengths_device_, starts_device_;
  std::unique_ptr<DeviceArray<float>> checkpoints_;
};

template <typename Run>
void with_dtype(const ScanCase& c, DType dtype, Report& report, const Run& run) {
  Report::dtype = name_of(dtype);
  switch (dtype) {
    case DType::kBFloat16:
      return run(std::make_unique<ScanCheck<__nv_bfloat16>>(c, report));
    case DType::kFloat16:
      return run(std::make_unique<ScanCheck<__half>>(c, report));
    case DType::kFloat32:
      return run(std::make_unique<ScanCheck<float>>(c, report));
  }
}

}  // namespace

void check_scan(const ScanCase& c, DType dtype, Report& report) {
  with_dtype(c, dtype, report, [](const auto& check) { check->run(); });
}

void check_scan_repeats(const ScanCase& c, DType dtype, Report& report) {
  with_dtype(c, dtype, report, [](const auto& check) { check->run_repeats(); });
}

}  // namespace mpeft::cuda_check

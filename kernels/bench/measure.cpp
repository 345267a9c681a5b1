#include "kernels/bench/measure.h"

#include <algorithm>
#include <chrono>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/bench/gpu_peaks.h"
#include "kernels/common/cpu_features.h"

namespace mpeft::ops {
namespace {

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// Milliseconds of `calls` calls in a row.
double time_on_cpu(const std::function<void()>& call, int calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

/// Same, between two events of the current stream.
double time_on_device(at::Device device, const std::function<void()>& call, int calls) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const auto stream = guard.getStream(device);
  c10::Event start(device.type(), c10::EventFlag::BACKEND_DEFAULT),
      stop(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  start.record(stream);
  for (int i = 0; i < calls; ++i) call();
  stop.record(stream);
  stop.synchronize();
  return start.elapsedTime(stop);
}

}  // namespace

double median_ms(at::Device device, const std::function<void()>& call) {
  const auto time = [&](int calls) {
    return device.is_cpu() ? time_on_cpu(call, calls) : time_on_device(device, call, calls);
  };
  time(2);
  const double once = std::max(time(1), 1e-3);
  const int calls = std::clamp(static_cast<int>(5.0 / once), 1, 50);  // at least 5 ms between two readings of the clock
  const int samples = std::clamp(static_cast<int>(1000.0 / (once * calls)), 5, 31);
  std::vector<double> times;
  for (int i = 0; i < samples; ++i) times.push_back(time(calls) / calls);
  return median(times);
}

std::vector<c10::IValue> call_op(const char* qualified_name, std::vector<c10::IValue> arguments) {
  const at::AutoDispatchBelowADInplaceOrView below;
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(qualified_name, "");
  op.callBoxed(arguments);
  return arguments;
}

BenchRow make_row(const std::string& op, const std::string& pass, at::Device device, at::ScalarType dtype,
                  const BenchShape& shape, const Work& work, double ms) {
  BenchRow row;
  row.op = op;
  row.pass = pass;
  row.dtype = c10::toString(dtype);
  row.shape = shape;
  row.ms = ms;
  row.giga_elements = work.elements / ms * 1e-6;
  row.gigabytes = work.bytes / ms * 1e-6;
  if (device.is_cpu()) {
    row.threads = at::get_num_threads();
    row.implementation = kernels::to_string(kernels::cpu_capability());
    row.giga_elements_per_core = row.giga_elements / row.threads;
    return row;
  }
  row.implementation = "cuda";
  const GpuPeaks peaks = gpu_peaks(device, dtype);
  if (peaks.bytes > 0) {
    row.floor_ms = std::max(
        {work.bytes / peaks.bytes, work.exponentials / peaks.exponentials, work.instructions / peaks.instructions});
    row.percent_of_floor = 100 * row.floor_ms / ms;
  }
  return row;
}

void check_against_reference(const std::string& op, at::ScalarType dtype, const std::vector<at::Tensor>& results,
                             const std::vector<at::Tensor>& reference) {
  const double tolerance = dtype == at::kFloat ? 1e-5 : (dtype == at::kHalf ? 3e-3 : 2e-2);
  for (size_t i = 0; i < reference.size(); ++i) {
    const auto ours = results[i].detach().to(at::kCPU, at::kDouble), truth = reference[i].detach();
    const double error = (ours - truth).norm().item<double>() / std::max(truth.norm().item<double>(), 1e-30);
    TORCH_CHECK(
        error <= tolerance, op, ": result ", i,
        " (the output first, then the gradients in the order of the inputs) differs from the fp64 reference by ", error,
        ", more than ", tolerance, ": not timed");
  }
}

}  // namespace mpeft::ops

#include "train/step_graphs.h"

#include <utility>

#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/full.h>

#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/train/device.h"

namespace mpeft::train {
namespace {

// A graph of a thousand kernels takes a few megabytes and as long to record as three steps.
constexpr size_t kMaxGraphs = 96;

at::Tensor scalar(double value, at::Device device) {
  return at::full({}, value, at::TensorOptions().dtype(at::kFloat).device(device));
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

StepGraphs::StepGraphs(at::Device device, bool may_record, Body body)
    : device_(device), may_record_(may_record && ops::DeviceGraph::is_available(device)), body_(std::move(body)) {}

void StepGraphs::run(const data::Batch& batch, int64_t n_labels, double loss_scale, bool may_record_now) {
  const BatchShape shape = device_.is_cuda() ? rounded_up(shape_of(batch)) : shape_of(batch);
  const at::Tensor host = pack(batch, shape, device_.is_cuda());
  if (const auto it = graphs_.find(shape); it != graphs_.end()) {
    const torch::NoGradGuard no_grad;
    Recorded& recorded = it->second;
    recorded.packed.copy_(host, /*non_blocking=*/true);
    recorded.inputs.n_labels.fill_(static_cast<double>(n_labels));
    recorded.inputs.loss_scale.fill_(loss_scale);
    recorded.graph.replay();
    return;
  }
  const at::Tensor packed = host.to(device_, /*non_blocking=*/true);
  const StepInputs inputs{unpack(packed, shape), scalar(static_cast<double>(n_labels), device_),
                          scalar(loss_scale, device_)};
  if (may_record_now && should_record(shape)) {
    record(shape, {packed, inputs, {}});
  } else {
    body_(inputs);
  }
}

bool StepGraphs::should_record(const BatchShape& shape) {
  return may_record_ && graphs_.size() < kMaxGraphs && ++seen_[shape] >= 2 && memory_suffices();
}

// The graphs' memory is reserved for them, and what runs unrecorded (a shape's first batch, evaluation) needs its own.
// Other processes may have taken a part of the GPU.
bool StepGraphs::memory_suffices() {
  const auto [free, total] = at::getDeviceAllocator(device_.type())->getMemoryInfo(device_.index());
  const uint64_t peak = peak_memory_bytes(device_);
  if (peak >= total / 5 * 2) {  // it never falls
    may_record_ = false;
    log::info(mpeft::str("training steps are not recorded as CUDA graphs: ", human_bytes(peak), " of ",
                         human_bytes(total), " leave no room for two of them"));
  }
  return may_record_ && peak < free;
}

void StepGraphs::record(const BatchShape& shape, Recorded recorded) {
  const ops::DeviceGraph* memory_of = graphs_.empty() ? nullptr : &graphs_.begin()->second.graph;
  bool has_run = false;
  const auto body = [&] {
    body_(recorded.inputs);
    has_run = true;
  };
  try {
    recorded.graph.record(device_, body, memory_of, /*releases_cached=*/true);
    graphs_.emplace(shape, std::move(recorded));
  } catch (const std::exception& e) {
    if (!has_run) throw;  // it was the batch that failed; otherwise it ran, and only its recording failed
    log::warning(mpeft::str("training goes on without CUDA graphs: ", first_line(e.what())));
    give_up();
  }
}

bool StepGraphs::give_up() {
  may_record_ = false;
  if (graphs_.empty()) return false;
  synchronize(device_);
  graphs_.clear();
  return true;
}

}  // namespace mpeft::train

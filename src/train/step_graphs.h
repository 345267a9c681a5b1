#pragma once

#include <functional>
#include <map>

#include <ATen/core/Tensor.h>

#include "kernels/glue/device_graph.h"
#include "mpeft/data/example.h"
#include "mpeft/train/loss.h"

#include "train/packed_batch.h"

namespace mpeft::train {

/// What forward and backward of a micro-batch read, on the device.
struct StepInputs {
  LossInputs batch;
  at::Tensor n_labels;    ///< 0-dim fp32: labelled tokens of all micro-batches of the step
  at::Tensor loss_scale;  ///< 0-dim fp32
};

/// Forward and backward of micro-batches. A GPU is done with a step of a small model before the processor has started
/// its thousands of kernels one by one; so, on a GPU, what a batch does is recorded as a graph when its shape comes for
/// the second time, and replayed by one launch from then on. On a GPU batches are padded so that few shapes occur
/// (`rounded_up`), recorded or not: what is computed does not hang on it, bit for bit.
class StepGraphs {
 public:
  /// Forward and backward; the same work for all batches of one shape, and nothing that waits for the device.
  using Body = std::function<void(const StepInputs&)>;

  /// Records only where graphs are to be had and if `may_record`.
  StepGraphs(at::Device device, bool may_record, Body body);

  /// Runs the body for a batch. `may_record_now`: the gradients are where they will stay.
  void run(const data::Batch& batch, int64_t n_labels, double loss_scale, bool may_record_now);

  size_t size() const { return graphs_.size(); }

  /// Drops all graphs with the memory that they hold, and records no more. False if there were none.
  bool give_up();

 private:
  struct Recorded {
    at::Tensor packed;  // where the batch must be
    StepInputs inputs;
    ops::DeviceGraph graph;
  };

  bool should_record(const BatchShape& shape);
  bool memory_suffices();
  void record(const BatchShape& shape, Recorded recorded);

  at::Device device_;
  bool may_record_;
  Body body_;
  std::map<BatchShape, int> seen_;
  std::map<BatchShape, Recorded> graphs_;
};

}  // namespace mpeft::train
